"""Sounds that are no speech, made from random numbers: noise, machines, music and birds."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
TURN = 2 * np.pi

Sound = NDArray[np.float64]
Random = np.random.Generator


def made_sound(kind: str, rng: Random, seconds: float = 20.0) -> NDArray[np.float32]:
    """Return a sound of `KINDS` (samples,) at 16 kHz, with peaks of −2 to −30 dB, in faint hiss."""
    sound = _scaled(KINDS[kind](rng, round(seconds * RATE)))
    level = 10 ** (-rng.uniform(2, 30) / 20)
    return (level * sound + 1e-4 * rng.normal(size=len(sound))).astype(np.float32)


def noise(slope: float) -> Callable[[Random, int], Sound]:
    """Return a maker of noise whose power falls with frequency to this power."""

    def make(rng: Random, size: int) -> Sound:
        hz = np.fft.rfftfreq(size, 1 / RATE)
        hz[0] = hz[1]
        return np.fft.irfft(np.fft.rfft(rng.normal(size=size)) / hz ** (slope / 2), size)

    return make


def tone(rng: Random, size: int) -> Sound:
    """Return a pure tone."""
    return np.sin(TURN * rng.uniform(80, 3000) * _times(size))


def hum(rng: Random, size: int) -> Sound:
    """Return the hum of the mains, with eight harmonics of random strength."""
    hz, times = rng.choice([50, 60]), _times(size)
    return sum(rng.uniform() * np.sin(TURN * (hz * k * times + rng.uniform())) for k in range(1, 9))


def engine(rng: Random, size: int) -> Sound:
    """Return a low harmonic tone that wavers, in pink noise."""
    hz = rng.uniform(25, 90) * (1 + 0.03 * np.sin(TURN * 0.7 * _times(size)))
    return 0.7 * harmonic(rng, hz, 40, 0.7) + 0.3 * _scaled(noise(1.0)(rng, size))


def pulsing(rng: Random, size: int) -> Sound:
    """Return noise whose level rises and falls one to eight times a second."""
    made = noise(rng.uniform(0, 1.5))(rng, size)
    return made * (0.5 + 0.5 * np.sin(TURN * rng.uniform(1, 8) * _times(size)))


def applause(rng: Random, size: int) -> Sound:
    """Return 20 to 200 claps a second."""
    sound, clap = np.zeros(size), np.arange(800)
    for start in rng.integers(0, size - 800, round(size / RATE * rng.uniform(20, 200))):
        decay = np.exp(-clap / rng.uniform(60, 200))
        sound[start : start + 800] += rng.normal(size=800) * decay * rng.uniform(0.2, 1)
    return sound


def siren(rng: Random, size: int) -> Sound:
    """Return a harmonic tone that glides up and down."""
    depth, speed = rng.uniform(0.1, 0.4), rng.uniform(0.2, 3)
    hz = rng.uniform(500, 1000) * (1 + depth * np.sin(TURN * speed * _times(size)))
    return harmonic(rng, hz, 5, 1.0)


def steady(rng: Random, size: int) -> Sound:
    """Return a harmonic tone of the pitches of voices."""
    return harmonic(rng, np.full(size, rng.uniform(80, 800)), rng.integers(2, 20), 1.0)


def vibrato(rng: Random, size: int) -> Sound:
    """Return a harmonic tone with vibrato, as of a violin."""
    depth, speed = rng.uniform(0.01, 0.05), rng.uniform(4, 7)
    hz = rng.uniform(150, 900) * (1 + depth * np.sin(TURN * speed * _times(size)))
    return harmonic(rng, hz, rng.integers(2, 14), rng.uniform(0.7, 2))


def chords(rng: Random, size: int) -> Sound:
    """Return plucked triads, one after another."""
    sound, start, step = np.zeros(size), 0, round(rng.uniform(0.4, 1.5) * RATE)
    while start < size - 100:
        length = min(round(1.2 * step), size - start)
        root, third = rng.uniform(80, 400), rng.choice([3, 4])
        pitches = [root * 2 ** (half / 12) for half in (0, third, 7)]
        settings = rng.integers(3, 10), rng.uniform(0.8, 2)
        chord = sum(harmonic(rng, np.full(length, hz), *settings) for hz in pitches)
        times = _times(length)
        envelope = np.exp(-times * rng.uniform(0.5, 4)) * np.minimum(1, 100 * times)
        sound[start : start + length] += chord * envelope
        start += step
    return sound


def melody(depth: float) -> Callable[[Random, int], Sound]:
    """Return a maker of melodies of bowed or sung notes, with vibrato of this depth."""

    def make(rng: Random, size: int) -> Sound:
        sound, start = np.zeros(size), 0
        while start < size - 200:
            length = min(round(rng.uniform(0.15, 0.9) * RATE), size - start)
            hz = rng.uniform(150, 1000) * (1 + depth * np.sin(TURN * 5.5 * _times(length)))
            one = harmonic(rng, hz, rng.integers(2, 14), rng.uniform(0.7, 2))
            sound[start : start + length] += one * np.hanning(length) ** 0.3
            start += length + round(rng.choice([0, rng.uniform(0, 0.4)]) * RATE)
        return sound

    return make


def birds(rng: Random, size: int) -> Sound:
    """Return chirps of 1.5 to 6 kHz."""
    sound, start = np.zeros(size), round(rng.uniform(0, 0.5) * RATE)
    while start < size - 200:
        length = min(round(rng.uniform(0.05, 0.3) * RATE), size - start)
        trill = rng.uniform(0, 0.15) * np.sin(TURN * rng.uniform(10, 50) * _times(length))
        hz = np.linspace(rng.uniform(1500, 5000), rng.uniform(1500, 6000), length) * (1 + trill)
        chirp = np.sin(TURN * np.cumsum(hz) / RATE) * np.hanning(length)
        sound[start : start + length] += chirp * rng.uniform(0.3, 1)
        start += length + round(rng.exponential(0.25) * RATE)
    return sound


def harmonic(rng: Random, hz: Sound, partials: int, slope: float) -> Sound:
    """Return a tone of a pitch (samples,) whose partials fall with their number to this power."""
    phase = np.cumsum(hz) / RATE
    audible = [k for k in range(1, partials + 1) if hz[0] * k < 7500]
    return _scaled(sum(np.sin(TURN * (k * phase + rng.uniform())) / k**slope for k in audible))


def _times(size: int) -> Sound:
    return np.arange(size) / RATE


def _scaled(sound: Sound) -> Sound:
    return sound / np.abs(sound).max()


KINDS: dict[str, Callable[[Random, int], Sound]] = {
    "silence": lambda rng, size: np.eye(1, size)[0],
    "white noise": noise(0.0),
    "pink noise": noise(1.0),
    "brown noise": noise(2.0),
    "pulsing noise": pulsing,
    "applause": applause,
    "mains hum": hum,
    "engine": engine,
    "pure tone": tone,
    "harmonic tone": steady,
    "siren": siren,
    "vibrato": vibrato,
    "chords": chords,
    "birds": birds,
    "melody": melody(0.0),
    "melody with vibrato": melody(0.03),
}

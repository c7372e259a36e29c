"""A source-filter voice that babbles with emotion: glottal pulses and noise through formants.

Speech starts as a plan of syllables, becomes control tracks (f0, levels, formants) every 5 ms, and
then a waveform. The effects of emotion are relative to the speaker and differ between clips.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from liser.corpora.synthetic.prosody import Prosody

SAMPLE_RATE = 16_000
BLOCK = 80  # samples between control points: 5 ms
_RATE = SAMPLE_RATE / BLOCK
_QUIET_S = 0.12  # room tone before and after the speech

Floats = NDArray[np.float64]

# Mean F1, F2, F3 (Hz) of men in /i ɪ ɛ æ ɑ ɔ ʊ u ʌ/: Hillenbrand et al. 1995, JASA 97(5), table V.
_VOWELS = np.array(
    [
        (342, 2322, 3000),
        (427, 2034, 2684),
        (580, 1799, 2605),
        (588, 1952, 2601),
        (768, 1333, 2522),
        (652, 997, 2538),
        (469, 1122, 2434),
        (378, 997, 2343),
        (623, 1200, 2550),
    ],
    dtype=float,
)
_BANDWIDTHS = np.array([70.0, 90.0, 130.0, 200.0, 300.0])
_SONORANT = np.array([280.0, 1250.0, 2400.0])  # a murmur with a low first formant, as in /m/, /n/


@dataclass(frozen=True, slots=True)
class Voice:
    """How one speaker sounds when calm.

    `f0_hz` is the mean pitch, `f0_range_st` its spread in semitones, `formant_scale` the inverse
    of the vocal tract's length against the mean man's, `rate` syllables a second, `tilt_db` the
    source's loss at 3 kHz, `breath` the aspiration against the voicing, `level_db` the loudness
    against the corpus's mean; `jitter` and `shimmer` are relative to one period.
    """

    sex: Literal["female", "male"]
    f0_hz: float
    f0_range_st: float
    formant_scale: float
    rate: float
    tilt_db: float
    breath: float
    level_db: float
    jitter: float
    shimmer: float

    @classmethod
    def draw(cls, sex: Literal["female", "male"], rng: np.random.Generator) -> "Voice":
        """Draw a speaker of this sex."""
        woman = sex == "female"
        return cls(
            sex=sex,
            f0_hz=float(rng.normal(205, 16) if woman else rng.normal(118, 11)),
            f0_range_st=float(rng.uniform(1.6, 2.8)),
            formant_scale=float(rng.normal(1.16, 0.03) if woman else rng.normal(1.0, 0.03)),
            rate=float(rng.uniform(4.0, 5.4)),
            tilt_db=float(rng.normal(13 if woman else 11, 2.0)),
            breath=float(np.exp(rng.normal(-3.0 if woman else -3.4, 0.3))),
            level_db=float(rng.normal(0, 2.0)),
            jitter=float(rng.uniform(0.004, 0.010)),
            shimmer=float(rng.uniform(0.03, 0.08)),
        )


@dataclass(frozen=True, slots=True)
class _Tracks:
    """Control tracks, one value a block; `formants` is (blocks, 5), all levels are linear."""

    voicing: Floats
    aspiration: Floats
    frication: Floats
    f0: Floats
    formants: Floats
    tilt_db: Floats


def speak(
    voice: Voice, prosody: Prosody, duration_s: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], Floats]:
    """Babble for `duration_s`; return the waveform and the opening of the mouth.

    The waveform is (samples,) float32 at `SAMPLE_RATE`, the opening (blocks,) in 0…1 with one
    value every 5 ms, for the face.
    """
    blocks = round(duration_s * _RATE)
    tracks, mouth = _articulate(voice, prosody, blocks, rng)
    source = _glottal_source(voice, prosody, tracks, rng)
    speech = _vocal_tract(source, tracks) + _frication(tracks, rng)
    speech *= 0.05 / (np.sqrt(np.mean(speech**2)) + 1e-9)
    speech *= 10 ** ((voice.level_db + prosody.level_db) / 20)
    recorded = _record(speech, rng)
    return recorded.astype(np.float32), mouth


def _articulate(
    voice: Voice, prosody: Prosody, blocks: int, rng: np.random.Generator
) -> tuple[_Tracks, Floats]:
    """Plan syllables for all blocks, and smooth their targets into tracks."""
    voicing, hiss = np.zeros(blocks), np.zeros(blocks)
    pitch, opening = np.zeros(blocks), np.zeros(blocks)
    formants = np.tile(_VOWELS[rng.integers(len(_VOWELS))], (blocks, 1))
    rate = voice.rate * np.exp(prosody.rate)
    at, left = int(_QUIET_S * _RATE), int(rng.integers(3, 7))
    end = blocks - int(_QUIET_S * _RATE)
    while at < end:
        length = max(int(_RATE / rate * np.exp(rng.normal(0, 0.2))), 12)
        onset = at + int(length * rng.uniform(0.2, 0.38))
        stop = min(at + length, end)
        _consonant(at, min(onset, end), voicing, hiss, formants, rng)
        vowel = _VOWELS[rng.integers(len(_VOWELS))]
        stress = rng.uniform(0.55, 1.0)
        formants[onset:stop] = vowel
        voicing[onset:stop] = stress
        opening[onset:stop] = stress * np.clip((vowel[0] - 250) / 500, 0.15, 1)
        pitch[at:stop] = rng.normal(0.9 if stress > 0.8 else -0.4, 0.7)  # accents are high
        at, left = stop, left - 1
        if left == 0:
            pause = int(_RATE * 0.16 * np.exp(prosody.pause + rng.normal(0, 0.3)))
            formants[at : at + pause] = vowel
            at, left = at + pause, int(rng.integers(3, 7))
    tracks = _smooth(voice, prosody, (voicing, hiss, pitch, formants), rng)
    mouth = ndimage.gaussian_filter1d(opening, 7) * np.clip(1 + 0.04 * prosody.level_db, 0.6, 1.4)
    return tracks, np.clip(mouth, 0, 1)


def _consonant(
    start: int,
    stop: int,
    voicing: Floats,
    hiss: Floats,
    formants: Floats,
    rng: np.random.Generator,
) -> None:
    """Write a fricative, a stop with its burst, or a sonorant into blocks start…stop."""
    kind = rng.choice(("fricative", "stop", "sonorant"), p=(0.3, 0.35, 0.35))
    if kind == "fricative":
        hiss[start:stop] = rng.uniform(0.08, 0.2)
    elif kind == "stop":  # silence, then a burst of some 10 ms
        hiss[max(start, stop - 2) : stop] = rng.uniform(0.15, 0.3)
    else:
        voicing[start:stop] = 0.35
        formants[start:stop] = _SONORANT


def _smooth(
    voice: Voice,
    prosody: Prosody,
    targets: tuple[Floats, Floats, Floats, Floats],
    rng: np.random.Generator,
) -> _Tracks:
    """Turn step-like targets into tracks that a vocal tract could follow."""
    voicing, hiss, pitch, formants = targets
    blocks = len(voicing)
    time = np.arange(blocks) / _RATE
    place = np.linspace(-0.5, 0.5, blocks)
    spread = voice.f0_range_st * np.exp(prosody.f0_range)
    accents = ndimage.gaussian_filter1d(pitch, 8) * spread
    wander = ndimage.gaussian_filter1d(rng.normal(0, 1, blocks), 30) * 3.0
    tremor = prosody.tremor * np.sin(2 * np.pi * (rng.uniform(5, 7.5) * time + rng.uniform()))
    melody = prosody.f0_st + accents + wander + tremor
    melody += (prosody.contour_st - 1.5) * place + 2 * prosody.contour_st * np.clip(place, 0, 1)
    scale = voice.formant_scale * (1 + prosody.spread)
    moving = ndimage.gaussian_filter1d(formants, 3, axis=0)
    tube = np.broadcast_to((3500.0, 4500.0), (blocks, 2))  # F4, F5 of a 17.5 cm tube
    level = ndimage.gaussian_filter1d(voicing, 2)
    breath = np.clip(voice.breath * np.exp(prosody.breath), 0, 0.6)
    return _Tracks(
        voicing=level,
        aspiration=level * breath,
        frication=ndimage.gaussian_filter1d(hiss, 0.8),
        f0=np.clip(voice.f0_hz * 2 ** (melody / 12), 60, 600),
        formants=np.hstack([moving, tube]) * scale,
        tilt_db=np.clip(voice.tilt_db - prosody.effort_db - 6 * (level - 0.7), 1, 30),
    )


def _glottal_source(
    voice: Voice, prosody: Prosody, tracks: _Tracks, rng: np.random.Generator
) -> Floats:
    """Return the glottal flow's derivative, KLGLOTT88 (Klatt & Klatt 1990, JASA 87(2)).

    It includes aspiration. It is computed at twice the rate and decimated, against aliasing of the
    pulse's corner.
    """
    over = 2
    samples = len(tracks.f0) * BLOCK * over
    at = np.arange(samples) / (BLOCK * over)
    blocks = np.arange(len(tracks.f0))
    f0 = np.interp(at, blocks, tracks.f0) / (SAMPLE_RATE * over)
    cycle = np.cumsum(f0).astype(int)
    wobble = rng.normal(0, 1, (2, cycle[-1] + 2))
    phase = np.cumsum(f0 * (1 + voice.jitter * np.exp(prosody.jitter) * wobble[0][cycle]))
    period = np.minimum(phase.astype(int), cycle[-1] + 1)
    quotient = np.clip(0.6 - 0.012 * prosody.effort_db, 0.4, 0.8)
    x = (phase - np.floor(phase)) / quotient
    pulse = np.where(x < 1, 2 * x - 3 * x**2, 0.0)
    shimmer = voice.shimmer * np.exp(0.7 * prosody.jitter)
    pulse *= np.clip(1 + shimmer * wobble[1][period], 0.2, 2)
    air = rng.normal(0, 1, samples) * np.where(x < 1, 1.0, 0.4)
    mixed = pulse * np.interp(at, blocks, tracks.voicing)
    mixed += air * np.interp(at, blocks, tracks.aspiration)
    return np.asarray(signal.resample_poly(mixed, 1, over))


def _vocal_tract(source: Floats, tracks: _Tracks) -> Floats:
    """Filter with the tilt and a cascade of five resonators, updated in each block."""
    sections = np.zeros((len(tracks.f0), 6, 6))
    sections[:, :, 3] = 1
    # One pole whose gain at 3 kHz is tilt_db below that at 0 Hz (Klatt 1980's tilt filter).
    drop, cosine = 10 ** (tracks.tilt_db / 10), np.cos(2 * np.pi * 3000 / SAMPLE_RATE)
    b = (drop - cosine) / (drop - 1)
    pole = b - np.sqrt(b**2 - 1)
    sections[:, 0, 0], sections[:, 0, 4] = 1 - pole, -pole
    radius = np.exp(-np.pi * _BANDWIDTHS / SAMPLE_RATE)
    angle = 2 * np.pi * np.minimum(tracks.formants, 7600) / SAMPLE_RATE
    a1, a2 = -2 * radius * np.cos(angle), np.broadcast_to(radius**2, angle.shape)
    sections[:, 1:, 4], sections[:, 1:, 5] = a1, a2
    sections[:, 1:, 0] = 1 + a1 + a2  # unit gain at 0 Hz
    state, out = np.zeros((6, 2)), np.empty_like(source)
    for block, coefficients in enumerate(sections):
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        out[part], state = signal.sosfilt(coefficients, source[part], zi=state)
    return out


def _frication(tracks: _Tracks, rng: np.random.Generator) -> Floats:
    """Return hiss around a random frequency between 2.5 and 6 kHz."""
    samples = len(tracks.f0) * BLOCK
    centre = rng.uniform(2500, 6000)
    edges = (0.75 * centre, min(1.3 * centre, 7700))
    band = signal.butter(2, edges, "bandpass", fs=SAMPLE_RATE, output="sos")
    hiss = signal.sosfilt(band, rng.normal(0, 1, samples))
    level = np.interp(np.arange(samples) / BLOCK, np.arange(len(tracks.f0)), tracks.frication)
    return np.asarray(hiss * level)


def _record(speech: Floats, rng: np.random.Generator) -> Floats:
    """Put the speech in a random room, with background noise and a random gain."""
    decay_s = rng.uniform(0.08, 0.35)  # reverberation time, to -60 dB
    time = np.arange(int(decay_s * SAMPLE_RATE)) / SAMPLE_RATE
    response = rng.normal(0, 1, len(time)) * 10 ** (-3 * time / decay_s)
    response *= 10 ** (rng.uniform(-18, -6) / 20) / np.linalg.norm(response)
    response[0] = 1
    wet = signal.fftconvolve(speech, response)[: len(speech)]
    colour = signal.lfilter([1], [1, -rng.uniform(0.3, 0.97)], rng.normal(0, 1, len(speech)))
    noise_db = rng.uniform(-62, -46)
    noise = colour * (10 ** (noise_db / 20) / np.std(colour))
    return np.asarray(np.clip((wet + noise) * 10 ** (rng.normal(0, 2.0) / 20), -0.99, 0.99))

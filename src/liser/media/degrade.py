"""Sound as the world spoils it: noise, rooms, telephones, wrong gain, clipping, short stretches.

Each degradation takes a waveform (samples,) float32, its sample rate in Hz and a generator, and
gives a new waveform of the same length (but for cuts). The same generator state gives the same
sound; digital silence stays digital silence. Levels are those of the sound's *active* part
(`active`), so that the silence before and after the words doesn't change how hard a condition is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import av
import av.audio
import av.error
import numpy as np
import soxr
from numpy.typing import NDArray

from liser.errors import InputError

Waveform = NDArray[np.float32]
Floats = NDArray[np.float64]

FRAME_S = 0.02
ACTIVE_DB = 35.0
"""Frames this far below the loudest one are not active; as much as students trim by default."""
LINE_DB = -26.0
"""Active level on a telephone line, in dB of full scale: nominal by ITU-T P.56 and G.191."""
TELEPHONE_HZ = (300.0, 3400.0)
LSB = 1 / 32768  # of 16-bit integers


@dataclass(frozen=True, slots=True)
class Degradation:
    """A way to spoil a waveform, and what it does in words for the report."""

    apply: Callable[[Waveform, int, np.random.Generator], Waveform]
    description: str

    def __call__(self, waveform: Waveform, sample_rate: int, rng: np.random.Generator) -> Waveform:
        """Return the spoilt waveform, float32; the given one is left as it is.

        Raises:
            InputError: a waveform that is not (samples,), is empty or not finite, or a codec
                that this build of FFmpeg doesn't have.
        """
        waveform = np.asarray(waveform, np.float32)
        if waveform.ndim != 1 or waveform.size == 0 or not np.isfinite(waveform).all():
            raise InputError(
                "only a waveform (samples,) of finite values can be degraded, not "
                f"{waveform.shape} with {int((~np.isfinite(waveform)).sum())} others"
            )
        if not waveform.any():
            return waveform.copy()
        return np.asarray(self.apply(waveform, sample_rate, rng), np.float32)


def active(waveform: Waveform, sample_rate: int) -> Waveform:
    """Return the samples in frames of 20 ms that lie within 35 dB of the loudest frame.

    >>> tone, silence = np.ones(1600, np.float32), np.zeros(16_000, np.float32)
    >>> len(active(np.concatenate([silence, tone, silence]), 16_000))
    1600
    """
    starts = np.arange(0, len(waveform), max(1, round(FRAME_S * sample_rate)))
    sizes = np.diff(starts, append=len(waveform))
    power = np.add.reduceat(np.square(waveform, dtype=np.float64), starts) / sizes
    loud = power >= power.max() * 10 ** (-ACTIVE_DB / 10)
    return np.asarray(waveform[np.repeat(loud, sizes)])


def level(waveform: Waveform, sample_rate: int) -> float:
    """Return the mean power of the active part; 0 for silence alone."""
    return float(np.square(active(waveform, sample_rate), dtype=np.float64).mean())


def add_noise(
    waveform: Waveform,
    sample_rate: int,
    rng: np.random.Generator,
    *,
    density: Callable[[Floats], Floats],
    snr_db: float,
) -> Waveform:
    """Add stationary Gaussian noise all through, `snr_db` below the sound's active level.

    `density` gives the noise's power density at frequencies in Hz, in any unit. Each clip has one
    noise for all ratios, if each begins with the same generator.
    """
    size = 1 << (len(waveform) - 1).bit_length()  # quick to transform, whatever the length is
    frequencies = np.asarray(np.fft.rfftfreq(size, 1 / sample_rate), np.float64)
    spectrum = np.fft.rfft(rng.standard_normal(size))
    noise = np.fft.irfft(spectrum * np.sqrt(density(frequencies)), size)[: len(waveform)]
    power = float(np.square(noise).mean())
    if power == 0:  # of a single sample: there is no frequency but 0
        return waveform.copy()
    gain = np.sqrt(level(waveform, sample_rate) / power * 10 ** (-snr_db / 10))
    return np.asarray(waveform + gain * noise, np.float32)


def pink(frequencies: Floats) -> Floats:
    """Give the density 1 / f: the same power in every octave, from 20 Hz up."""
    return np.where(frequencies < 20.0, 0.0, 1 / np.maximum(frequencies, 20.0))


# Level in dB of third octaves around their centres in Hz, men's and women's voices in twelve
# languages: Byrne et al. 1994, "An international comparison of long-term average speech spectra",
# J. Acoust. Soc. Am. 96 (4), table II.
_SPEECH_HZ, _SPEECH_DB = (
    np.array(row.split(), np.float64)
    for row in (
        "63 80 100 125 160 200 250 315 400 500 630 800 1000 1250 1600 2000 2500 3150 4000 5000 "
        "6300 8000 10000 12500 16000",
        "38.6 43.5 54.4 57.7 56.8 60.2 60.3 59.0 62.1 62.1 60.5 56.8 53.7 53.0 52.0 48.7 48.1 46.8 "
        "45.6 44.5 44.3 43.7 43.4 41.3 40.7",
    )
)


def speech_shaped(frequencies: Floats) -> Floats:
    """Give the density of long-term average speech (Byrne et al. 1994), from 50 Hz up."""
    # a third octave is as wide as its centre is high: less so much is a density
    decibels = _SPEECH_DB - 10 * np.log10(_SPEECH_HZ)
    heights = np.log(np.maximum(frequencies, 1.0))
    curve = 10 ** (np.interp(heights, np.log(_SPEECH_HZ), decibels) / 10)
    return np.where(frequencies < 50.0, 0.0, curve)


def reverberate(
    waveform: Waveform,
    sample_rate: int,
    rng: np.random.Generator,
    *,
    rt60_s: float,
    direct_db: float,
) -> Waveform:
    """Convolve with `impulse_response`; what rings on after the clip's end is cut off."""
    room = impulse_response(sample_rate, rng, rt60_s=rt60_s, direct_db=direct_db)
    size = 1 << (len(waveform) + len(room) - 2).bit_length()
    heard = np.fft.irfft(np.fft.rfft(waveform, size) * np.fft.rfft(room, size), size)
    return np.asarray(heard[: len(waveform)], np.float32)


def impulse_response(
    sample_rate: int, rng: np.random.Generator, *, rt60_s: float, direct_db: float
) -> Floats:
    """Return a synthetic room: a direct path of 1, and Gaussian noise that decays after it.

    The noise begins 2.5 ms after the direct path and loses 60 dB in `rt60_s` (Polack's model of
    the diffuse tail; Polack 1988, Habets 2007 section 2.3). Its energy is `direct_db` below the
    direct path's. The response ends `rt60_s` after it began.
    """
    time = np.arange(max(2, round(rt60_s * sample_rate))) / sample_rate
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / rt60_s)
    tail[: max(1, round(0.0025 * sample_rate))] = 0.0
    tail *= np.sqrt(10 ** (-direct_db / 10) / max(np.square(tail).sum(), 1e-30))
    tail[0] = 1.0
    return np.asarray(tail)


def telephone(waveform: Waveform, sample_rate: int, rng: np.random.Generator) -> Waveform:
    """Send through a telephone line: 300–3400 Hz, 8 kHz, G.711 mu-law, and back to the rate.

    The line's active level is -26 dB of full scale, whatever the recording's was: the codec
    rounds, and so it is not blind to the gain.
    """
    line = _resampled(waveform, sample_rate, 8000)
    frequencies = np.fft.rfftfreq(len(line), 1 / 8000)
    low, high = TELEPHONE_HZ
    # half a raised cosine of 100 Hz on each side, all of it outside the band
    gain = _slope((frequencies - low) / 100 + 1) * _slope((high - frequencies) / 100 + 1)
    line = np.asarray(np.fft.irfft(np.fft.rfft(line) * gain, len(line)), np.float32)
    line = _coded(_levelled(line, 8000), 8000, "wav", "pcm_mulaw", {})
    return _fitted(_resampled(line, 8000, sample_rate), len(waveform))


def internet_call(waveform: Waveform, sample_rate: int, rng: np.random.Generator) -> Waveform:
    """Send through a poor internet call: 8 kHz, Opus at 8 kbit/s for speech, back to the rate."""
    line = _levelled(_resampled(waveform, sample_rate, 8000), 8000)
    options = {"b": "8000", "application": "voip", "vbr": "off"}
    line = _coded(line, 8000, "ogg", "libopus", options)
    return _fitted(_resampled(line, 8000, sample_rate), len(waveform))


def low_gain(
    waveform: Waveform, sample_rate: int, rng: np.random.Generator, *, gain_db: float
) -> Waveform:
    """Record with the gain `gain_db` too low: what is left is rounded to 16-bit integers.

    A quiet recording can vanish: what is below half a step is silence.
    """
    steps = np.round(waveform * (10 ** (gain_db / 20) / LSB))
    return np.asarray(np.clip(steps, -32768, 32767) * LSB, np.float32)


def clip(
    waveform: Waveform, sample_rate: int, rng: np.random.Generator, *, share: float
) -> Waveform:
    """Clip so hard that `share` of the active part's samples are at the limit."""
    heights = np.abs(active(waveform, sample_rate))
    limit = np.quantile(heights[heights > 0], 1 - share)
    return np.asarray(np.clip(waveform, -limit, limit), np.float32)


def loudest(
    waveform: Waveform, sample_rate: int, rng: np.random.Generator, *, duration_s: float
) -> Waveform:
    """Cut out the stretch of `duration_s` that has the most energy; a shorter clip stays whole.

    Neither the middle nor the beginning: a cut that held no words would test the cut.
    """
    size = max(1, round(duration_s * sample_rate))
    if len(waveform) <= size:
        return waveform.copy()
    energy = np.concatenate([[0.0], np.cumsum(np.square(waveform, dtype=np.float64))])
    first = int(np.argmax(energy[size:] - energy[:-size]))
    return waveform[first : first + size].copy()


def _slope(x: Floats) -> Floats:
    """Rise from 0 at x = 0 to 1 at x = 1 by a squared sine."""
    return np.asarray(np.sin(np.pi / 2 * np.clip(x, 0, 1)) ** 2)


def _levelled(waveform: Waveform, sample_rate: int) -> Waveform:
    power = level(waveform, sample_rate) if waveform.any() else 0.0
    if power == 0:
        return waveform
    return np.asarray(waveform * np.sqrt(10 ** (LINE_DB / 10) / power), np.float32)


def _resampled(waveform: Waveform, sample_rate: int, to: int) -> Waveform:
    resampled = np.asarray(soxr.resample(waveform, sample_rate, to, quality="HQ"), np.float32)
    return resampled if resampled.size else np.zeros(1, np.float32)


def _fitted(waveform: Waveform, size: int) -> Waveform:
    """Return exactly `size` samples: a codec or a change of rate may give a few more or less."""
    return np.pad(waveform[:size], (0, max(0, size - len(waveform))))


def _coded(
    waveform: Waveform, rate: int, container: str, codec: str, options: dict[str, str]
) -> Waveform:
    """Encode a waveform as 16-bit integers in memory, and return what a decoder makes of it."""
    size, file = len(waveform), BytesIO()
    whole = np.round(np.clip(waveform, -1.0, 1.0 - LSB) / LSB).astype(np.int16)
    try:
        with av.open(file, "w", format=container) as out:
            stream = out.add_stream(codec, rate=rate, layout="mono", options=options)
            frame = av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
            frame.sample_rate = rate
            for packet in (*stream.encode(frame), *stream.encode(None)):
                out.mux(packet)
    except (av.error.FFmpegError, ValueError) as error:
        raise InputError(f"this build of FFmpeg can't encode with {codec}: {error}") from None
    file.seek(0)
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
    with av.open(file) as made:
        frames = [piece for frame in made.decode(audio=0) for piece in resampler.resample(frame)]
        frames += resampler.resample(None)
    heard = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    return _fitted(np.asarray(heard, np.float32), size)


def _noise(density: Callable[[Floats], Floats], snr_db: float, kind: str) -> Degradation:
    spoil = partial(add_noise, density=density, snr_db=snr_db)
    return Degradation(spoil, f"{kind} noise, {snr_db:g} dB below the speech")


def _room(rt60_s: float, direct_db: float) -> Degradation:
    spoil = partial(reverberate, rt60_s=rt60_s, direct_db=direct_db)
    words = f"a room that rings for {rt60_s:g} s (RT60), direct to reverberant {direct_db:g} dB"
    return Degradation(spoil, words)


DEGRADATIONS: dict[str, Degradation] = {
    "speech-noise-20db": _noise(speech_shaped, 20, "speech-shaped"),
    "speech-noise-10db": _noise(speech_shaped, 10, "speech-shaped"),
    "speech-noise-5db": _noise(speech_shaped, 5, "speech-shaped"),
    "pink-noise-20db": _noise(pink, 20, "pink"),
    "pink-noise-10db": _noise(pink, 10, "pink"),
    "pink-noise-5db": _noise(pink, 5, "pink"),
    "reverb-0.3s": _room(0.3, 5.0),
    "reverb-0.8s": _room(0.8, 0.0),
    "telephone": Degradation(telephone, "300–3400 Hz at 8 kHz, G.711 mu-law"),
    "internet-call": Degradation(internet_call, "8 kHz, Opus at 8 kbit/s"),
    "low-gain": Degradation(
        partial(low_gain, gain_db=-40.0), "gain 40 dB lower, kept as 16-bit integers"
    ),
    "clipping": Degradation(partial(clip, share=0.1), "10 % of the speech's samples clipped"),
    "cut-2s": Degradation(partial(loudest, duration_s=2.0), "the loudest 2 s alone"),
    "cut-1s": Degradation(partial(loudest, duration_s=1.0), "the loudest 1 s alone"),
}
"""All of them by name, in the order of the report."""


def degradations(names: str) -> dict[str, Degradation]:
    """Return those that ``all`` or a comma-separated list names, in the order of `DEGRADATIONS`.

    >>> list(degradations("cut-1s, telephone"))
    ['telephone', 'cut-1s']

    Raises:
        InputError: a name that there is not.
    """
    if names.strip() == "all":
        return dict(DEGRADATIONS)
    chosen = {name.strip() for name in names.split(",")}
    unknown = sorted(chosen - DEGRADATIONS.keys())
    if unknown:
        raise InputError(
            f"no degradation is called {unknown[0]!r}; there are all, {', '.join(DEGRADATIONS)}"
        )
    return {name: one for name, one in DEGRADATIONS.items() if name in chosen}

"""Long recordings with known utterances, joined from real clips or from the synthetic corpus.

A clip's speech lasts from the first to the last 10 ms that are within `BELOW_DB` of its loudest
ones: clips are studio recordings, so their level alone tells. That is the range of speech; breaths
and clicks before and after it are softer, mostly.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from liser.media.audio import load_audio
from made_sounds import made_sound

RATE = 16_000
BELOW_DB = 30.0
GAPS = ("silence", "white noise", "pink noise", "chords", "melody")
"""What lies between the clips."""
UNDER = ("", "pink noise", "chords", "quiet")
"""What a recording's clips are degraded by."""
SNR_DB = 10.0
"""Level of the speech over what is under it."""
QUIET_DB = 40.0

Sound = NDArray[np.float32]


@dataclass(slots=True)
class Recording:
    """A long recording: its sound at `RATE`, and the start and end of each utterance in seconds."""

    sound: Sound
    utterances: list[tuple[float, float]] = field(default_factory=list)
    clips: list[str] = field(default_factory=list)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.sound) / RATE


def speech_of(sound: Sound) -> tuple[float, float]:
    """Return where a clean clip's speech starts and ends, in seconds."""
    step = RATE // 100
    power = (sound[: len(sound) // step * step].reshape(-1, step).astype(np.float64) ** 2).mean(1)
    level = 10 * np.log10(np.convolve(power, np.full(3, 1 / 3), "same") + 1e-12)
    loud = np.flatnonzero(level >= np.percentile(level, 99) - BELOW_DB)
    return loud[0] / 100, (loud[-1] + 1) / 100


def recordings(
    clips: Sequence[Path], under: str, seed: int, clips_each: int = 20
) -> Iterator[Recording]:
    """Join shuffled clips with gaps of `GAPS`, `clips_each` in a recording."""
    rng = np.random.default_rng(seed)
    order = [clips[i] for i in rng.permutation(len(clips))]
    gain = np.float32(10 ** (-QUIET_DB / 20)) if under == "quiet" else np.float32(1)
    for start in range(0, len(order), clips_each):
        parts: list[Sound] = [_gap(rng)]
        made = Recording(parts[0])
        for clip in order[start : start + clips_each]:
            sound = load_audio(clip, RATE)
            begin_s, end_s = speech_of(sound)
            offset_s = sum(map(len, parts)) / RATE
            made.utterances.append((offset_s + begin_s, offset_s + end_s))
            made.clips.append(clip.stem)
            if under not in ("", "quiet"):
                other = made_sound(under, rng, len(sound) / RATE + 0.01)[: len(sound)]
                sound = degraded(sound, other, SNR_DB)
            parts += [sound, _gap(rng)]
        made.sound = gain * np.concatenate(parts)
        yield made


def _gap(rng: np.random.Generator) -> Sound:
    """Return 0.3 to 6 s of something that is no speech, at a level below speech's."""
    kind, seconds = str(rng.choice(GAPS)), float(rng.uniform(0.3, 6.0))
    if kind == "silence":
        return (1e-4 * rng.normal(size=round(seconds * RATE))).astype(np.float32)
    sound = made_sound(kind, rng, seconds)
    return np.asarray(sound / np.abs(sound).max() * rng.uniform(0.01, 0.3), np.float32)


def degraded(sound: Sound, other: Sound, snr_db: float) -> Sound:
    """Mix another sound of the same length under a sound, at this level in dB below it."""
    ratio = np.sqrt((sound**2).mean() / ((other**2).mean() + 1e-12)) * 10 ** (-snr_db / 20)
    return np.asarray(np.clip(sound + ratio * other, -1, 1), np.float32)


def matched(
    truth: Sequence[tuple[float, float]], found: Sequence[tuple[float, float]], least: float = 0.5
) -> list[tuple[int, int]]:
    """Pair true and found utterances one to one, where their overlap (IoU) is at least `least`."""
    from scipy.optimize import linear_sum_assignment

    if not truth or not found:
        return []
    one, other = np.array(truth)[:, None], np.array(found)[None]
    shared = np.minimum(one[..., 1], other[..., 1]) - np.maximum(one[..., 0], other[..., 0])
    shared = np.clip(shared, 0, None)
    union = (one[..., 1] - one[..., 0]) + (other[..., 1] - other[..., 0]) - shared
    overlap = shared / union
    rows, columns = linear_sum_assignment(-overlap)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if overlap[r, c] >= least]


@dataclass(slots=True)
class Take:
    """A part of a long video: frames (n, h, w, 3) at `FPS`, its sound, and where its speech is."""

    frames: NDArray[np.uint8]
    sound: Sound
    speech: tuple[float, float] | None = None
    name: str = ""


FPS = 25


def take(clip: Path, sound: Path | None = None) -> Take:
    """Read a clip with its picture; its sound may lie elsewhere."""
    from liser.media.video import read_frames

    frames = read_frames(clip, FPS).images
    samples = load_audio(sound or clip, RATE)
    samples = np.pad(samples, (0, max(0, len(frames) * RATE // FPS - len(samples))))
    samples = samples[: len(frames) * RATE // FPS]
    return Take(frames, samples, speech_of(samples), clip.stem)


def pause(seconds: float, kind: str, rng: np.random.Generator, size: tuple[int, int]) -> Take:
    """Return black frames of this (height, width) with a sound of `GAPS`."""
    count = max(1, round(seconds * FPS))
    samples = (1e-4 * rng.normal(size=count * RATE // FPS)).astype(np.float32)
    if kind != "silence":
        made = made_sound(kind, rng, count / FPS)[: len(samples)]
        samples = np.asarray(made / np.abs(made).max() * rng.uniform(0.01, 0.3), np.float32)
    return Take(np.zeros((count, *size, 3), np.uint8), samples)


def write_video(path: Path, takes: Iterable[Take]) -> list[tuple[float, float]]:
    """Write takes one after another as an mp4; return the start and end of each one's speech."""
    utterances: list[tuple[float, float]] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = samples = 0
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "crf": "18", "threads": "1"}
        picture = container.add_stream("libx264", rate=FPS, options=options)
        picture.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        sound.bit_rate = 96_000
        for one in takes:
            if one.speech is not None:
                begin_s = frames / FPS
                utterances.append((begin_s + one.speech[0], begin_s + one.speech[1]))
            for image in one.frames:
                if not frames:
                    picture.height, picture.width = image.shape[:2]
                shown = av.VideoFrame.from_ndarray(image, "rgb24")
                shown.pts = frames
                frames += 1
                container.mux(picture.encode(shown))
            part = av.AudioFrame.from_ndarray(one.sound[None], "fltp", "mono")
            part.sample_rate, part.pts = RATE, samples
            samples += len(one.sound)
            container.mux(sound.encode(part))
        container.mux(picture.encode(None))
        container.mux(sound.encode(None))
    return utterances


def repeated(source: Path, target: Path, copies: int) -> None:
    """Join copies of a video without coding it again."""
    with av.open(str(source)) as first, av.open(str(target), "w") as joined:
        streams = {s.index: joined.add_stream_from_template(s) for s in first.streams}
        length_s = 0.1 + max(float(s.duration * s.time_base) for s in first.streams)
        for copy in range(copies):
            with av.open(str(source)) as again:
                for packet in again.demux():
                    if packet.dts is None:
                        continue
                    shift = round(copy * length_s / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = streams[packet.stream.index]
                    joined.mux(packet)

"""How well `liser ingest` finds utterances and spoilt ones; `teach.py` measures what it costs.

    python benchmarks/ingest.py --shared ../shared            # real clips; a quarter of an hour
    python benchmarks/ingest.py --synthetic corpus/ --out …   # the synthetic corpus

Long recordings are joined from clips with silence, noise, music and black frames
(`long_recordings.py`). RAVDESS's actors 1–4, 9–12 and 17–20 chose the limits, so the rows of the
other actors are the ones to quote. ``benchmarks/results/ingest.json`` holds the rows, with bars.
"""

import io
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import typer
from numpy.typing import NDArray

from liser import storage
from liser.ingest.duplicates import DuplicateFinder, audio_fingerprint
from liser.ingest.ingest import ingest
from liser.ingest.quality import voice_quality
from liser.ingest.source import IngestSettings
from liser.ingest.utterances import (
    SHORTEST_S,
    SpokenUtterance,
    find_utterances,
    speech_detector,
)
from liser.media.audio import load_audio
from liser.runtime.vad import FRAME
from long_recordings import (
    GAPS,
    RATE,
    UNDER,
    Recording,
    Sound,
    degraded,
    matched,
    pause,
    recordings,
    speech_of,
    take,
    write_video,
)
from made_sounds import made_sound

RESULTS = Path(__file__).parent / "results" / "ingest.json"
SEED = 11
BARS = {"precision": 0.95, "recall": 0.95}

Row = dict[str, Any]


def main(
    shared: Path | None = typer.Option(None, help="Folder of real data and weights."),
    synthetic: Path | None = typer.Option(None, help="Folder of a synthetic corpus."),
    out: Path = typer.Option(RESULTS),
) -> None:
    """Measure, and write the rows; exit with 1 if one of the other actors' rows misses its bar."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for part in _parts(shared, synthetic, Path(folder)):
            for row in part:
                if row.get("bar") is not None:
                    row["passes"] = row["value"] >= row["bar"]
                print(json.dumps(row), flush=True)
                rows.append(row)
                storage.write_json(out, {"seed": SEED, "gaps": GAPS, "rows": rows}, indent=1)
    missed = [row for row in rows if row.get("passes") is False]
    sys.exit(1 if any("choosing" not in row["group"] for row in missed) else 0)


def _parts(shared: Path | None, synthetic: Path | None, folder: Path) -> Iterator[Iterator[Row]]:
    """Yield the rows of each part, those of the other actors first."""
    if shared is not None:
        others, choosing = (_clips(shared, half) for half in ("others", "choosing"))
        yield sound_rows(others, "others")
        yield video_rows(shared, folder)
        yield sound_rows(choosing, "choosing")
    if synthetic is not None:
        yield sound_rows(sorted(synthetic.rglob("*.mp4")), "synthetic")


def halves() -> dict[str, list[int]]:
    """Return RAVDESS's actors, in blocks of four: those that chose the limits, and the others."""
    by_half: dict[str, list[int]] = {"choosing": [], "others": []}
    for actor in range(1, 21):
        by_half["choosing" if (actor - 1) // 4 % 2 == 0 else "others"].append(actor)
    return by_half


def _clips(shared: Path, half: str) -> list[Path]:
    audio = shared / "data" / "ravdess" / "audio"
    files = [sorted((audio / f"Actor_{actor:02d}").glob("*.flac")) for actor in halves()[half]]
    return [file for some in files for file in some]


def sound_rows(clips: Sequence[Path], group: str) -> Iterator[Row]:
    """Score utterances under each condition, spoilt utterances, and near-duplicates."""
    make = speech_detector()
    for under in UNDER:
        pairs = []
        some = clips[::2] if under else clips
        for recording in recordings(some, under, SEED):
            pieces = find_utterances([recording.sound], RATE, make)
            long_enough = [one for one in pieces if one.duration_s >= SHORTEST_S - FRAME / RATE / 2]
            if not under:  # clean speech must pass the limits, too
                long_enough = [one for one in long_enough if _passes(one)]
            spans = [(one.start_s, one.end_s) for one in long_enough]
            pairs.append((recording, spans))
        names = {"": "clean, after the limits", "quiet": "40 dB quieter"}
        name = names.get(under, f"{under} 10 dB below")
        yield from utterance_rows(pairs, f"{group}: {name}", with_bars=not under)
    sounds = [_around_speech(load_audio(clip, RATE)) for clip in clips[::4]]
    yield from spoilt_rows(sounds, group)
    yield from duplicate_rows(sounds, group)


def utterance_rows(
    pairs: Sequence[tuple[Recording, Sequence[tuple[float, float]]]], group: str, with_bars: bool
) -> Iterator[Row]:
    """Score found spans against the true ones; a pair overlaps by half of its union or more."""
    true = found = hits = 0
    errors = []
    for recording, spans in pairs:
        places = matched(recording.utterances, spans)
        true, found = true + len(recording.utterances), found + len(spans)
        hits += len(places)
        errors += [np.subtract(spans[column], recording.utterances[row]) for row, column in places]
    for name, of in (("recall", true), ("precision", found)):
        row = {"row": f"utterances, {name}", "group": group, "value": round(hits / max(of, 1), 4)}
        low, high = _wilson(hits, of)
        yield row | {
            "low": low,
            "high": high,
            "count": of,
            "bar": BARS[name] if with_bars else None,
        }
    for name, column in (("start", 0), ("end", 1)):
        off = np.abs(np.array(errors).reshape(-1, 2)[:, column])
        yield {
            "row": f"utterances, error of the {name} in s, median",
            "group": group,
            "value": round(float(np.median(off)), 3) if len(off) else None,
            "high": round(float(np.percentile(off, 90)), 3) if len(off) else None,
            "count": len(off),
        }


def spoilt_rows(sounds: Sequence[Sound], group: str) -> Iterator[Row]:
    """Count the utterances that are left out, for each way in which they are spoilt."""
    rng = np.random.default_rng(SEED)
    ways: dict[str, Callable[[int], Sound]] = {
        "clean": lambda n: sounds[n],
        "clipped, 6 dB over": lambda n: _clipped(sounds[n], 2.0),
        "40 dB quieter": lambda n: sounds[n] * np.float32(0.01),
        "noise as loud": lambda n: _mixed(sounds[n], _made("pink noise", sounds[n], rng), 0),
        "noise 10 dB below": lambda n: _mixed(sounds[n], _made("pink noise", sounds[n], rng), 10),
        "chords 10 dB below": lambda n: _mixed(sounds[n], _made("chords", sounds[n], rng), 10),
        "melody 10 dB below": lambda n: _mixed(sounds[n], _made("melody", sounds[n], rng), 10),
        "melody with vibrato 10 dB below": lambda n: _mixed(
            sounds[n], _made("melody with vibrato", sounds[n], rng), 10
        ),
        "another voice as loud": lambda n: _mixed(sounds[n], sounds[n - len(sounds) // 2], 0),
    }
    for way, spoil in ways.items():
        faults = Counter(_fault(spoil(n)) for n in range(len(sounds)))
        out = len(sounds) - faults.pop(None, 0)
        low, high = _wilson(out, len(sounds))
        yield {
            "row": f"left out: {way}",
            "group": group,
            "value": round(out / len(sounds), 4),
            "low": low,
            "high": high,
            "count": len(sounds),
            "reasons": dict(faults.most_common()),
        }


def duplicate_rows(sounds: Sequence[Sound], group: str) -> Iterator[Row]:
    """Count the copies that are found, and the clips that are taken for another one's copy."""
    rng = np.random.default_rng(SEED)
    finder = DuplicateFinder()
    false = sum(
        finder.add(str(n), audio_fingerprint(sound)) is not None for n, sound in enumerate(sounds)
    )
    yield {"row": "near-duplicates, false", "group": group, "value": false / len(sounds)}
    ways = {
        "as MP3 at 24 kbit/s": _mp3,
        "10 dB quieter, cut 0.2 s later": lambda sound: sound[RATE // 5 :] * np.float32(0.3),
        "with noise 20 dB below": lambda s: _mixed(s, _made("pink noise", s, rng), 20),
    }
    for way, copy in ways.items():
        hits = 0
        for n, sound in enumerate(sounds):
            hits += finder.find(audio_fingerprint(copy(sound))) == str(n)
        yield {
            "row": f"near-duplicates, found: {way}",
            "group": group,
            "value": round(hits / len(sounds), 4),
            "count": len(sounds),
        }


def video_rows(shared: Path, folder: Path) -> Iterator[Row]:
    """Score whole ingests of long videos of actor 5, and of actor 1, who chose the limits."""
    for actor, group in ((5, "others, video"), (1, "choosing, video")):
        videos = sorted((shared / "data" / "ravdess" / "video" / f"Actor_{actor:02d}").iterdir())
        takes = [take(video, _sound_of(video, shared)) for video in videos]
        rng = np.random.default_rng(SEED)
        size = takes[0].frames.shape[1:3]
        parts = []
        for one in takes:
            parts += [pause(rng.uniform(0.3, 4), str(rng.choice(GAPS)), rng, size), one]
        path = folder / f"actor-{actor}" / "long.mp4"
        truth = write_video(path, parts)
        found = ingest([path], _settings(shared, folder / f"corpus-{actor}"))
        spans = [
            (row["start"], row["end"])
            for row in found.rows
            if row["taken"] != "left out" or row["reason"] == "near-duplicate"
        ]
        recording = Recording(np.zeros(0, np.float32), truth)
        yield from utterance_rows([(recording, spans)], group, with_bars=True)
        seen = [row for row in found.rows if row["taken"] == "audiovisual"]
        used = [row for row in found.rows if row["taken"] != "left out"]
        yield {
            "row": "used utterances that have their talking face",
            "group": group,
            "value": round(len(seen) / max(1, len(used)), 4),
            "count": len(used),
        }


def _settings(shared: Path, corpus: Path, faces: bool = True) -> IngestSettings:
    models = shared / "models"
    return IngestSettings(
        corpus,
        faces,
        f"yunet:{models / 'yunet' / 'yunet_n_640_640.onnx'}",
        str(models / "lr-asd" / "lr-asd-talkset.safetensors"),
    )


def _sound_of(video: Path, shared: Path) -> Path | None:
    """Return the recording of a video-only take; its own sound is silent."""
    if not video.stem.startswith("02-"):
        return None
    name = f"03{video.stem[2:]}.flac"
    return shared / "data" / "ravdess" / "audio" / video.parent.name / name


def _around_speech(sound: Sound) -> Sound:
    """Return a clip's speech with half a second on both sides."""
    begin_s, end_s = speech_of(sound)
    first = max(0, int((begin_s - 0.5) * RATE))
    return sound[first : int((end_s + 0.5) * RATE)]


def _passes(one: SpokenUtterance) -> bool:
    return voice_quality(one.sound, one.waveform, one.voiced).fault is None


def _fault(around: Sound) -> str | None:
    """Return why an utterance with half a second on both sides would be left out."""
    half = RATE // 2
    voiced = np.zeros(len(around) // FRAME + 1, np.bool_)
    voiced[half // FRAME : -half // FRAME] = True
    return voice_quality(around[half:-half], around, voiced).fault


def _made(kind: str, sound: Sound, rng: np.random.Generator) -> NDArray[np.float32]:
    return made_sound(kind, rng, len(sound) / RATE + 0.1)[: len(sound)]


def _mixed(sound: Sound, other: Sound, snr_db: float) -> Sound:
    return degraded(sound, np.resize(other, len(sound)), snr_db)


def _clipped(sound: Sound, gain: float) -> Sound:
    return np.asarray(np.clip(sound / np.abs(sound).max() * gain, -1, 1) * 0.8, np.float32)


def _mp3(sound: Sound) -> Sound:
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=RATE, layout="mono")
        stream.bit_rate = 24_000
        frame = av.AudioFrame.from_ndarray(sound[None], "fltp", "mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        parts = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return np.concatenate(parts).astype(np.float32)


def _wilson(hits: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    if not of:
        return 0.0, 1.0
    share, spread = hits / of, z * z / of
    middle = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / of + spread / of / 4) / (1 + spread)
    return round(float(middle - half), 4), round(float(middle + half), 4)


if __name__ == "__main__":
    typer.run(main)

"""A small synthetic corpus that needs no download: invented people who babble and make faces.

It replaces real data in the demo and in tests. Figures measured on it say nothing about real
speech. Its name, its files and their titles say that it is synthetic.
"""

import csv
import io
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from liser import storage
from liser.corpora import folder as folder_corpus
from liser.corpora.base import Corpus
from liser.errors import InputError, MissingExtraError, NotFoundError
from liser.folders import SYNTHETIC
from liser.workers import run_in_processes

EMOTIONS = ("neutral", "happy", "sad", "angry", "fearful", "surprised")
"""Six of RAVDESS's eight emotions, in its order."""

MANIFEST, SETTINGS = "manifest.csv", "synthetic.json"

# Increase this with any change to how a clip looks or sounds: versions are never mixed.
_VERSION = 1


@dataclass(frozen=True, slots=True)
class _Clip:
    """A clip to make: its speaker's number and its own number, from 0."""

    seed: int
    speaker: int
    number: int

    @property
    def sex(self) -> Literal["female", "male"]:
        return "male" if self.speaker % 2 else "female"

    @property
    def emotion(self) -> str:
        return EMOTIONS[self.number % len(EMOTIONS)]

    @property
    def speaker_id(self) -> str:
        return f"synthetic-{self.speaker + 1:02d}"

    @property
    def id(self) -> str:
        return f"{self.speaker_id}-{self.number + 1:03d}-{self.emotion}"

    @property
    def path(self) -> str:
        """The clip's file, relative to the corpus."""
        return f"{self.speaker_id}/{self.id}.mp4"


def generate(
    folder: Path,
    speakers: int = 12,
    clips_per_speaker: int = 30,
    *,
    seed: int = 0,
    jobs: int | None = None,
    progress: bool | None = None,
) -> Corpus:
    """Write the corpus of this seed into `folder`, or its missing clips, and read it.

    Every other speaker is a woman. Each speaker has each of `EMOTIONS` equally often (within one).
    Clips last 2 to 3 s: 16 kHz mono AAC, and 176x176 H.264 at 10 frames a second. A clip depends
    only on `seed`, its speaker and its number. So existing clips stay, and a corpus may grow. The
    manifest is written last.

    Args:
        folder: where to write; made if it doesn't exist.
        speakers: how many, at least 1.
        clips_per_speaker: how many clips of each speaker, at least 1.
        seed: of everything random, at least 0.
        jobs: number of parallel processes; None for one a core, or fewer if there is little to do.
        progress: show a bar on stderr; None: only if stderr is a terminal.

    Raises:
        InputError: a number is too small, or the folder has the corpus of another seed or version,
            or other files.
        MissingExtraError: the extras ``train`` and ``video`` aren't installed.
        StorageError: the folder can't be written.
    """
    for name, value, least in (
        ("speakers", speakers, 1),
        ("clips_per_speaker", clips_per_speaker, 1),
        ("seed", seed, 0),
        ("jobs", 1 if jobs is None else jobs, 1),
    ):
        if value < least:
            raise InputError(f"{name} is {value}; it must be at least {least}")
    folder = Path(folder)
    clips = [_Clip(seed, s, n) for s in range(speakers) for n in range(clips_per_speaker)]
    SYNTHETIC.claim(folder, {"corpus": "synthetic", "version": _VERSION, "seed": seed})
    missing = [clip for clip in clips if not (folder / clip.path).is_file()]
    _make_all(folder, missing, jobs, progress)
    _write_manifest(folder, clips)
    return load(folder)


def load(path: Path) -> Corpus:
    """Read a corpus that `generate` wrote to the folder `path`; labels are *intended*.

    Clips whose files are missing are skipped and named.

    Raises `NotFoundError` if there is no finished corpus, and `InputError` if its manifest is
    damaged.
    """
    path = Path(path)
    if not (path / SETTINGS).is_file() or not (path / MANIFEST).is_file():
        raise NotFoundError(
            f"{str(path)!r} has no finished synthetic corpus (no {SETTINGS} with a {MANIFEST}): "
            "make or finish one with `liser demo`"
        )
    corpus = folder_corpus.load(path / MANIFEST, EMOTIONS)
    return replace(corpus, name="synthetic", label_kind="intended")


def _make(folder: Path, clip: _Clip) -> None:
    """Make one clip; the imports are here because reading a corpus doesn't need them."""
    try:
        from liser.corpora.synthetic import camera, voice
        from liser.corpora.synthetic.clip import Speaker, perform
        from liser.corpora.synthetic.write import write_mp4
    except ImportError as error:
        raise MissingExtraError(str(error.name), "train,video") from error
    speaker = Speaker.draw(clip.seed, clip.speaker, clip.sex)
    waveform, frames = perform(speaker, clip.emotion, (clip.seed, clip.speaker, clip.number))
    title = f"{clip.id} (synthetic: no real person)"
    write_mp4(folder / clip.path, waveform, voice.SAMPLE_RATE, frames, camera.FPS, title)


def _make_all(folder: Path, clips: list[_Clip], jobs: int | None, progress: bool | None) -> None:
    """Make clips in parallel, with a progress bar."""
    if not clips:
        return
    try:
        from joblib import cpu_count
    except ImportError as error:
        raise MissingExtraError("joblib", "train") from error
    from liser.text.progress import show_progress

    # Processes take a second or two to start: too long for a handful of clips.
    workers = jobs or min(cpu_count(), max(1, len(clips) // 16))
    with show_progress(progress) as add_task:
        task = add_task("synthetic clips", len(clips))
        for _ in run_in_processes((partial(_make, folder, clip) for clip in clips), workers):
            task.advance()


def _write_manifest(folder: Path, clips: list[_Clip]) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("path", "id", "label", "speaker", "sex"))
    table.writerows((c.path, c.id, c.emotion, c.speaker_id, c.sex) for c in clips)
    storage.write_text(folder / MANIFEST, text.getvalue())

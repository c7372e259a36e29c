"""RAVDESS: 24 actors speaking two sentences in eight intended emotions.

Livingstone & Russo 2018, doi:10.1371/journal.pone.0196391. A file name is seven two-digit
numbers: modality, vocal channel, emotion, intensity, statement, repetition, actor.
"""

from pathlib import Path

from liser.corpora.base import Corpus, Skip, Utterance
from liser.corpora.files import MediaFile, Take, best, find_media, group_takes, sound_of
from liser.errors import NotFoundError
from liser.labels import RAVDESS
from liser.text.escaping import readable

_AUDIO_VISUAL, _VIDEO_ONLY, _AUDIO_ONLY = "01", "02", "03"
_SONG = "02"
# The largest value of each number in the name.
_FIELDS = (
    ("modality", 3),
    ("vocal channel", 2),
    ("emotion", len(RAVDESS)),
    ("intensity", 2),
    ("statement", 2),
    ("repetition", 2),
    ("actor", 99),
)


def load(path: Path) -> Corpus:
    """Read the speech of RAVDESS, in any layout of folders, as one utterance a performance.

    The audio-visual (01-…), video-only (02-…) and audio-only (03-…) files of one performance
    become one utterance. Its audio is the 03 file, else the 01; its video the 01 file, else the
    02. Its id is the 03 name if that file exists, else the 01 name; all three names are aliases.
    Of several formats of a file, the lossless one is used. Labels are the *intended* emotions.
    Songs, second copies, and names that can't be parsed are skipped.

    Raises `NotFoundError` if `path` is no folder, or has no RAVDESS speech.
    """
    path = Path(path)
    found = find_media(path)
    speech: list[MediaFile] = []
    skipped = list(found.skipped)
    for file in found.media:
        refusal = _refusal(file)
        if refusal is None:
            speech.append(file)
        else:
            skipped.append(Skip(readable(file.path.relative_to(path).as_posix()), *refusal))
    takes, copies = group_takes(speech, path, lambda file: file.stem)
    performances = sorted({name[2:] for name in takes})
    if not performances:
        example = skipped[-1]
        raise NotFoundError(
            f"{readable(path)!r} has no RAVDESS speech: {len(found.media)} media files, the last "
            f"{example.id!r} ({example.reason}: {example.detail})"
        )
    utterances = tuple(_utterance(performance, takes) for performance in performances)
    return Corpus("ravdess", RAVDESS, "intended", utterances, (*skipped, *copies), found.left_out)


def is_name(stem: str) -> bool:
    """Return whether a file name without its suffix is one of RAVDESS's.

    >>> is_name("03-01-06-01-02-01-12"), is_name("03-01-09-01-02-01-12")
    (True, False)
    """
    return _name_fault(stem) is None


def _name_fault(stem: str) -> str | None:
    numbers = stem.split("-")
    if len(numbers) != len(_FIELDS) or not all(len(n) == 2 and n.isdecimal() for n in numbers):
        return "not seven two-digit numbers like 03-01-06-01-02-01-12"
    for number, (field, most) in zip(numbers, _FIELDS, strict=True):
        if not 1 <= int(number) <= most:
            return f"{field} {number} is not one of 01 to {most:02d}"
    return None


def _refusal(file: MediaFile) -> tuple[str, str] | None:
    """Return why a file is no speech of RAVDESS (reason, detail), None if it is speech."""
    fault = _name_fault(file.path.stem)
    if fault is not None:
        return "name not understood", fault
    modality, channel = file.path.stem.split("-")[:2]
    if channel == _SONG:
        return "song", f"vocal channel {_SONG}: sung, not spoken"
    if modality == _VIDEO_ONLY and file.kind == "audio":
        return "name not understood", f"modality {_VIDEO_ONLY} has no sound, but this is audio"
    return None


def _utterance(performance: str, takes: dict[str, Take]) -> Utterance:
    """Return the utterance of one performance, which is a name without its modality."""
    aliases = tuple(m + performance for m in (_AUDIO_VISUAL, _VIDEO_ONLY, _AUDIO_ONLY))
    audio_visual, video_only, audio_only = (takes.get(name, ()) for name in aliases)
    emotion, actor = performance.split("-")[2], performance.split("-")[-1]
    return Utterance(
        id=aliases[2] if audio_only else aliases[0],
        speaker_id=actor,
        label=RAVDESS[int(emotion) - 1],
        audio=sound_of(audio_only) or sound_of(audio_visual),
        video=best(audio_visual, "video") or best(video_only, "video"),
        sex="male" if int(actor) % 2 else "female",
        aliases=aliases,
    )

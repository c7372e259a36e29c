"""Corpora whose file names give each clip's speaker and emotion."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from liser.corpora.base import Corpus, Skip, Utterance
from liser.corpora.files import MediaFile, best, find_media, group_takes, sound_of
from liser.errors import NotFoundError
from liser.text.escaping import readable


class NamedClip(NamedTuple):
    """What the name of a clip's file says."""

    speaker_id: str
    label: str


def load_by_name(
    path: Path,
    name: str,
    title: str,
    labels: tuple[str, ...],
    parse: Callable[[str], NamedClip | None],
    example: str,
) -> Corpus:
    """Read a corpus of acted speech, in any layout of folders; each clip's id is its file's name.

    `parse` reads a file's name without its suffix, and returns None for any other file, which is
    skipped. Of several formats of a clip, the lossless one is used; second copies are skipped.
    Labels are the *intended* emotions. `title` and `example`, a file's name, are for messages.

    Raises `NotFoundError` if `path` is no folder, or has no such clip.
    """
    path = Path(path)
    found = find_media(path)
    skipped = list(found.skipped)
    clips: list[MediaFile] = []
    for file in found.media:
        if parse(file.path.stem) is None:
            own = readable(file.path.relative_to(path).as_posix())
            skipped.append(Skip(own, "unknown name", f"not a name of {title} such as {example}"))
        else:
            clips.append(file)
    takes, copies = group_takes(clips, path, lambda file: file.stem)
    if not takes:
        raise NotFoundError(
            f"{readable(path)!r} has no clip of {title}: {len(found.media)} media files, none with "
            f"a name such as {example}"
        )
    utterances = []
    for stem, take in sorted(takes.items()):
        clip = parse(stem)
        if clip is not None:
            audio, video = sound_of(take), best(take, "video")
            utterances.append(
                Utterance(stem, clip.speaker_id, clip.label, audio=audio, video=video)
            )
    skips = (*skipped, *copies)
    return Corpus(name, labels, "intended", tuple(utterances), skips, found.left_out)

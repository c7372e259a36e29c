"""Matches rows of tables, such as labels or teachers' outputs, to clips.

A table may name a clip by its id, an alias, or its file. A file may come with or without its
folders and suffix, with slashes or backslashes. A row belongs to one clip: a name that fits several
is ambiguous, unless it is the exact id of one.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from liser.corpora.base import Utterance
from liser.corpora.files import kind_of_suffix
from liser.labels import without_invisible


@dataclass(frozen=True, slots=True)
class Match:
    """The clips of a table's names.

    `rows` maps a clip's id to its names, the surest first. `ambiguous` maps a name to the ids of
    the clips that it fits. `strays` are the names that fit no clip.
    """

    rows: Mapping[str, tuple[str, ...]]
    ambiguous: Mapping[str, tuple[str, ...]]
    strays: tuple[str, ...]


def match(names: Iterable[str], utterances: Sequence[Utterance]) -> Match:
    """Find the clip of each name of a table.

    >>> clips = [Utterance("ann/01"), Utterance("bob/01", aliases=("b",))]
    >>> found = match(["ann/01.wav", "b", "01"], clips)
    >>> found.rows, found.strays
    ({'ann/01': ('ann/01.wav',), 'bob/01': ('b',)}, ('01',))
    """
    known: list[dict[str, list[str]]] = [{} for _ in _WAYS]
    for u in utterances:
        for by_name, way in zip(known, _WAYS, strict=True):
            for name in dict.fromkeys(way(u)):
                by_name.setdefault(name, []).append(u.id)
    rows: dict[str, list[tuple[int, str]]] = {}
    ambiguous: dict[str, tuple[str, ...]] = {}
    strays: list[str] = []
    for name in names:
        spellings = (_slashed(name), plain(name))
        found = next(
            ((way, ids) for way, of in enumerate(known) for s in spellings if (ids := of.get(s))),
            None,
        )
        if found is None:
            strays.append(name)
        elif len(found[1]) > 1:
            ambiguous[name] = tuple(found[1])
        else:
            rows.setdefault(found[1][0], []).append((found[0], name))
    ordered = {clip: tuple(name for _, name in sorted(own)) for clip, own in rows.items()}
    return Match(ordered, ambiguous, tuple(strays))


def plain(name: str) -> str:
    """Normalise slashes, and drop a leading ``./`` and a media suffix.

    >>> plain(r".\\ann\\a.WAV"), plain("take.1")
    ('ann/a', 'take.1')
    """
    path = _slashed(name)
    return path.rpartition(".")[0] if kind_of_suffix(path) else path


def _slashed(name: str) -> str:
    path = unicodedata.normalize("NFC", without_invisible(name)).replace("\\", "/")
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    return path.strip("/")


def _id(u: Utterance) -> Iterator[str]:
    yield _slashed(u.id)


def _plain_id(u: Utterance) -> Iterator[str]:
    yield plain(u.id)


def _aliases(u: Utterance) -> Iterator[str]:
    for alias in u.aliases:
        yield from (_slashed(alias), plain(alias))


def _files(u: Utterance) -> Iterator[str]:
    """Yield the ends of the clip's paths, if the clip is the whole file."""
    if u.start_s != 0 or u.end_s is not None:
        return
    for file in (u.audio, u.video):
        if file is not None:
            for path in (file, file.with_suffix("")):
                parts = _slashed(str(path.absolute())).split("/")
                yield from ("/".join(parts[i:]) for i in range(len(parts)))


_WAYS = (_id, _plain_id, _aliases, _files)
"""The ways to name a clip, the surest first."""

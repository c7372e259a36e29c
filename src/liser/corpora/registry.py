"""The corpora by name; add a loader here."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from liser.corpora import ased, cremad, folder, ingested, nemo, ravdess, synthetic
from liser.corpora.base import Corpus
from liser.corpora.files import exists, find_media, is_folder
from liser.corpora.tables import TABLE_SUFFIXES
from liser.errors import InputError, NotFoundError
from liser.text.escaping import readable


@dataclass(frozen=True, slots=True)
class CorpusKind:
    """A kind of corpus: how to read it, recognise it, name it and split it."""

    load: Callable[..., Corpus]
    """Takes the corpus's path, and options of its own."""
    title: str
    """Its name for readers."""
    tables: tuple[str, ...] = ()
    """File names of tables that the loader looks for in the corpus's folder."""
    is_name: Callable[[str], bool] | None = None
    """Returns whether a file's name, without suffix, is of this kind; None: no name is."""
    protocol: Mapping[str, Any] = field(default_factory=dict)
    """Settings of `liser.config.Protocol` that replace the defaults in its benchmark."""


CORPORA = {
    "ravdess": CorpusKind(ravdess.load, "RAVDESS", is_name=ravdess.is_name),
    "cremad": CorpusKind(
        cremad.load,
        "CREMA-D",
        tables=cremad.TABLES,
        is_name=cremad.is_name,
        protocol={"folds": 5, "valid_speakers": 6},
    ),
    "nemo": CorpusKind(nemo.load, "nEMO", is_name=nemo.is_name),
    "ased": CorpusKind(ased.load, "ASED", is_name=ased.is_name),
    "folder": CorpusKind(
        folder.load, "folder", tables=tuple(f"manifest{suffix}" for suffix in TABLE_SUFFIXES)
    ),
    "synthetic": CorpusKind(
        synthetic.load, "synthetic", tables=(synthetic.MANIFEST, synthetic.SETTINGS)
    ),
    "ingested": CorpusKind(
        ingested.load, "ingested recordings", tables=(ingested.MANIFEST, ingested.SETTINGS)
    ),
}
"""The kinds of corpus by name; add a loader here."""

TABLES = frozenset(Path(name).name for kind in CORPORA.values() for name in kind.tables)
"""File names of tables that loaders look for in a folder."""


def corpus_title(name: str) -> str:
    """Return what readers call a corpus.

    >>> corpus_title("cremad"), corpus_title("my-videos")
    ('CREMA-D', 'my-videos')
    """
    return CORPORA[name].title if name in CORPORA else name


def is_published(name: str) -> bool:
    """Tell whether a corpus is one that others have as well, with the same people in it.

    >>> is_published("ravdess"), is_published("my-videos")
    (True, False)
    """
    return name in CORPORA and CORPORA[name].is_name is not None


def load_corpus(name: str, path: Path, **options: Any) -> Corpus:
    """Read the corpus at `path` with the loader `name` and its `options`.

    Raises `InputError` for an unknown name or option, and all that the loader raises.
    """
    if name not in CORPORA:
        raise InputError(f"there is no corpus {name!r}: choose from {', '.join(CORPORA)}")
    loader = CORPORA[name].load
    allowed = [option for option in inspect.signature(loader).parameters if option != "path"]
    for option in options:
        if option not in allowed:
            raise InputError(
                f"corpus {name!r} has no option {option!r}: "
                + (f"it has {', '.join(allowed)}" if allowed else "it has none")
            )
    return loader(Path(path), **options)


def guess_corpus(path: Path) -> str:
    """Guess the corpus at `path` by its manifest, or by the names of most media files.

    Raises `NotFoundError` if there is nothing at `path`, or no media and no manifest in it.
    """
    path = Path(path)
    if not exists(path):
        raise NotFoundError(f"there is no folder or manifest {readable(path)!r}: check the path")
    if ingested.is_ingested(path):
        return "ingested"
    if not is_folder(path):
        return "folder"
    if (path / synthetic.SETTINGS).is_file():
        return "synthetic"
    if any((path / name).is_file() for name in cremad.CLIP_LISTS):
        return "cremad"
    if folder.manifests_in(path):
        return "folder"
    stems = [file.path.stem for file in find_media(path).media]
    for name, kind in CORPORA.items():
        if kind.is_name is not None and sum(map(kind.is_name, stems)) > len(stems) / 2:
            return name
    return "folder"

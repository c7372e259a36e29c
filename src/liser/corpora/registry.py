"""The corpora by name; add a loader here."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from liser.corpora import cremad, folder, ravdess, synthetic
from liser.corpora.base import Corpus
from liser.corpora.files import exists, find_media, is_folder
from liser.corpora.tables import TABLE_SUFFIXES
from liser.errors import InputError, NotFoundError
from liser.text.escaping import readable

CORPORA: dict[str, Callable[..., Corpus]] = {
    "ravdess": ravdess.load,
    "cremad": cremad.load,
    "folder": folder.load,
    "synthetic": synthetic.load,
}

TABLES = frozenset(
    Path(name).name
    for name in (
        *(f"manifest{suffix}" for suffix in TABLE_SUFFIXES),
        *cremad.TABLES,
        synthetic.MANIFEST,
        synthetic.SETTINGS,
    )
)
"""File names of tables that loaders look for in a folder."""


def load_corpus(name: str, path: Path, **options: Any) -> Corpus:
    """Read the corpus at `path` with the loader `name` and its `options`.

    Raises `InputError` for an unknown name or option, and all that the loader raises.
    """
    if name not in CORPORA:
        raise InputError(f"there is no corpus {name!r}: choose from {', '.join(CORPORA)}")
    loader = CORPORA[name]
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
    if not is_folder(path):
        return "folder"
    if (path / synthetic.SETTINGS).is_file():
        return "synthetic"
    if any((path / name).is_file() for name in cremad.CLIP_LISTS):
        return "cremad"
    if folder.manifests_in(path):
        return "folder"
    stems = [file.path.stem for file in find_media(path).media]
    for name, is_name in (("ravdess", ravdess.is_name), ("cremad", cremad.is_name)):
        if sum(map(is_name, stems)) > len(stems) / 2:
            return name
    return "folder"

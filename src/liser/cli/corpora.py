"""How verbs open a corpus, and what they print about it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from liser.text.escaping import markup

if TYPE_CHECKING:
    from liser.corpora.base import Corpus, Skip

_MOST_NAMES = 3
_LEFT_OUT = {
    "not media": ("file that isn't media", "files that aren't media"),
    "hidden": ("hidden file", "hidden files"),
    "same file": ("other name of the same file", "other names of the same files"),
}


def open_corpus(path: Path, kind: str | None, labels: Path | None = None) -> Corpus:
    """Load a corpus, with the labels of a table if one is given; print a kind that was guessed."""
    from liser.cli.output import console
    from liser.corpora.registry import guess_corpus, load_corpus

    chosen = kind or guess_corpus(path)
    if kind is None:
        console.print(f"kind: {chosen} (guessed from the files; --kind overrides it)")
    corpus = load_corpus(chosen, path)
    print_synonyms(corpus)
    return _with_labels(corpus, labels)


def open_joined(paths: Sequence[Path], kind: str | None, labels: Path | None = None) -> Corpus:
    """Load a corpus, or several joined into one, with the labels of a table if one is given."""
    from liser.corpora.joined import join

    corpora = [open_corpus(path, kind) for path in paths]
    return _with_labels(corpora[0] if len(corpora) == 1 else join(corpora), labels)


def _with_labels(corpus: Corpus, table: Path | None) -> Corpus:
    from liser.corpora.labelled import label_from

    if table is None:
        return corpus
    corpus = label_from(corpus, table)
    print_synonyms(corpus)
    return corpus


def print_synonyms(corpus: Corpus) -> None:
    """Print which labels are read as another emotion's name."""
    from liser.cli.output import console

    if corpus.synonyms:
        pairs = ", ".join(f"{name} as {label}" for name, label in corpus.synonyms)
        console.print(f"labels: reading {markup(pairs)}", highlight=False)


def left_out_note(left_out: Sequence[Skip]) -> str:
    """Count the files that are plainly no recordings, in a line that names some of them."""
    parts = []
    for reason, n in Counter(skip.reason for skip in left_out).items():
        what = _LEFT_OUT.get(reason, (reason, reason))[n > 1]
        some = [skip.id for skip in left_out if skip.reason == reason][:_MOST_NAMES]
        parts.append(f"{n} {what} ({', '.join(some)}{', …' if n > len(some) else ''})")
    return markup(f"left out: {'; '.join(parts)}")


def relative(text: str, base: Path) -> str:
    """Remove a folder's own path from a message, so that it reads the same on any machine."""
    return text.replace(f"{base}{os.sep}", "").replace(f"{base.absolute()}{os.sep}", "")

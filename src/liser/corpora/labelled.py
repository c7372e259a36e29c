"""The few labels of a corpus: taken from a table of their own, or fewer of those there are."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from liser.corpora.base import Corpus, Skip, Utterance
from liser.corpora.splits import label_budget
from liser.corpora.tables import read_rows, text
from liser.errors import InputError
from liser.labels import canonical

NAME_COLUMNS = ("id", "clip", "path", "file", "name")
"""Columns that may name the clip; the first of them that the table has is used."""


def label_from(corpus: Corpus, table: Path) -> Corpus:
    """Return the corpus with the labels of a CSV or Parquet table, and no others.

    The table has a column ``label`` and one of `NAME_COLUMNS`: an utterance's id, one of its
    aliases, or its file, as the name alone or with the folders that it lies in. Rows without a
    label are left out. The label set is the corpus's own where it has one, else the names found,
    sorted. A row whose clip is not in the corpus becomes one of the corpus's skips.

    Raises `NotFoundError` where there is no table, and `InputError` for a table without these
    columns or any row of this corpus, an unknown label, a name that fits several clips, or two
    labels for one clip.
    """
    named = _labels_by_name(table)
    labels = corpus.labels or tuple(sorted(set(named.values())))
    strangers = sorted(set(named.values()) - set(labels))
    if strangers:
        raise InputError(
            f"{table.name} has the label {strangers[0]!r}, which is not one of {', '.join(labels)}"
        )
    by_name: dict[str, list[str]] = {}
    for u in corpus.utterances:
        for name in _names(u):
            by_name.setdefault(name, []).append(u.id)
    given: dict[str, str] = {}
    strays: list[Skip] = []
    for name, label in named.items():
        clips = by_name.get(_plain(name), [])
        if len(clips) > 1:
            raise InputError(
                f"{table.name}: {name!r} may be {clips[0]!r} or {clips[1]!r}; give its id"
            )
        if not clips:
            strays.append(Skip(name, "label of no clip", f"in {table.name}"))
        elif given.setdefault(clips[0], label) != label:
            raise InputError(f"{table.name} labels {name!r} both {given[clips[0]]!r} and {label!r}")
    if not given:
        raise InputError(
            f"none of the {len(named)} labelled rows of {table.name} is a clip of {corpus.name!r}, "
            f"whose clips are named like {corpus.utterances[0].id!r}"
        )
    utterances = tuple(replace(u, label=given.get(u.id)) for u in corpus.utterances)
    return replace(
        corpus,
        labels=labels,
        label_kind=corpus.label_kind if corpus.labels else "given",
        utterances=utterances,
        skipped=(*corpus.skipped, *strays),
    )


def keep_labels(corpus: Corpus, budget: float | int, seed: int) -> Corpus:
    """Return the corpus with a share (float) or a number for each class (int) of its labels.

    Raises `InputError` as `liser.corpora.splits.label_budget`.
    """
    labels = [u.label for u in corpus.utterances]
    kept = label_budget(labels, budget, np.random.default_rng(seed))
    return replace(
        corpus,
        utterances=tuple(
            u if keep else replace(u, label=None)
            for u, keep in zip(corpus.utterances, kept, strict=True)
        ),
    )


def _labels_by_name(table: Path) -> dict[str, str]:
    rows = read_rows(table)
    columns = {column.strip().lower(): column for column in (rows[0] if rows else ())}
    key = next((columns[name] for name in NAME_COLUMNS if name in columns), None)
    if key is None or "label" not in columns:
        raise InputError(
            f"{table.name} needs a column 'label' and one of {', '.join(NAME_COLUMNS)}; "
            + (f"it has {', '.join(columns)}" if columns else "it has no rows")
        )
    named: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        name, label = text(row[key]), text(row[columns["label"]])
        if label is None:
            continue
        if name is None:
            raise InputError(f"{table.name}, row {number} has a label but names no clip")
        if named.setdefault(name, canonical(label)) != canonical(label):
            raise InputError(f"{table.name} labels {name!r} both {named[name]!r} and {label!r}")
    if not named:
        raise InputError(f"{table.name} has no row with a label")
    return named


def _names(u: Utterance) -> set[str]:
    """Return all that a table may call an utterance, file names only where it is the whole file."""
    names = {u.id, *u.aliases}
    if u.start_s == 0 and u.end_s is None:
        for file in {u.audio, u.video} - {None}:
            parts = file.absolute().with_suffix("").parts  # type: ignore[union-attr]
            names |= {"/".join(parts[i:]) for i in range(1, len(parts))}
    return {_plain(name) for name in names}


def _plain(name: str) -> str:
    """Drop what doesn't tell files apart: separators, a leading ``./``, a media file's suffix."""
    path = name.replace("\\", "/").strip("/").removeprefix("./")
    stem, dot, suffix = path.rpartition(".")
    return stem if dot and len(suffix) <= 4 and suffix.isalnum() else path

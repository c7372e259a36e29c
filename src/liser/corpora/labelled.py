"""Few labels: from a table of their own, or a budget of a corpus's labels."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from liser.corpora.base import Corpus, Skip
from liser.corpora.naming import match
from liser.corpora.splits import label_budget
from liser.corpora.tables import NAME_COLUMNS, column_of, label_text, read_rows, text
from liser.errors import InputError
from liser.labels import canonical, renamed


def label_from(corpus: Corpus, table: Path) -> Corpus:
    """Return the corpus with the labels of a CSV or Parquet table, and no others.

    Of joined corpora, one that the table doesn't name stays as it is.

    The table has a column ``label`` and one of `liser.corpora.tables.NAME_COLUMNS`, which names
    the clip (`liser.corpora.naming`). Rows without a label are ignored. The label set is the
    corpus's own, or else the labels of the clips found, sorted. A row without a clip in the corpus
    becomes a skip, and its label is ignored.

    Raises `NotFoundError` if there is no table, and `InputError` for a table without these columns
    or without a row of this corpus, an unknown label, an ambiguous name, or two labels for one
    clip.
    """
    named = _labels_by_name(table, corpus.labels)
    found = match(named, corpus.utterances)
    if found.ambiguous:
        name, clips = next(iter(found.ambiguous.items()))
        raise InputError(f"{table.name}: {name!r} may be {clips[0]!r} or {clips[1]!r}: give its id")
    if not found.rows:
        raise InputError(
            f"none of the {len(named)} labelled rows of {table.name} is a clip of {corpus.name!r}"
            + "".join(f", whose clips are named like {u.id!r}" for u in corpus.utterances[:1])
        )
    given: dict[str, str] = {}
    for clip, names in found.rows.items():
        found_labels = {canonical(named[name]): name for name in names}
        if len(found_labels) > 1:
            raise InputError(f"{table.name} labels {clip!r} both {_both(found_labels)}")
        (given[clip],) = found_labels
    labels = corpus.labels or tuple(sorted(set(given.values())))
    unknown = sorted(set(given.values()) - set(labels))
    if unknown:
        raise InputError(
            f"{table.name} has the label {unknown[0]!r}, which is not one of {', '.join(labels)}"
        )
    named_sources = {u.source for u in corpus.utterances if u.id in given}
    strays = (Skip(name, "label of no clip", f"in {table.name}") for name in found.strays)
    used = (named[name] for names in found.rows.values() for name in names)
    return replace(
        corpus,
        labels=labels,
        label_kind=corpus.label_kind if corpus.labels else "given",
        utterances=tuple(
            replace(u, label=given.get(u.id)) if u.source in named_sources else u
            for u in corpus.utterances
        ),
        skipped=(*corpus.skipped, *strays),
        synonyms=renamed(used),
    )


def keep_labels(corpus: Corpus, budget: float | int, seed: int) -> Corpus:
    """Return the corpus with a share (float) or a number per class (int) of its labels.

    Raises `InputError` as `liser.corpora.splits.label_budget`.
    """
    labels = [u.label for u in corpus.utterances]
    labelled = label_budget(labels, budget, np.random.default_rng(seed))
    return replace(
        corpus,
        utterances=tuple(
            u if own else replace(u, label=None)
            for u, own in zip(corpus.utterances, labelled, strict=True)
        ),
    )


def _labels_by_name(table: Path, labels: Sequence[str]) -> dict[str, str]:
    """Return the label of each labelled row by its clip's name, both as written."""
    rows = read_rows(table)
    columns = list(rows[0]) if rows else []
    key, label_column = column_of(columns, NAME_COLUMNS), column_of(columns, ("label",))
    if key is None or label_column is None:
        raise InputError(
            f"{table.name} needs a column 'label' and one of {', '.join(NAME_COLUMNS)}; "
            + (f"it has {', '.join(columns)}" if columns else "it has no rows")
        )
    named: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        name, label = text(row[key]), label_text(row[label_column], labels)
        if label is None:
            continue
        if name is None:
            raise InputError(f"{table.name}, row {number} has a label but names no clip")
        before = named.setdefault(name, label)
        if canonical(before) != canonical(label):
            raise InputError(f"{table.name} labels {name!r} both {_both((before, label))}")
    if not named:
        raise InputError(f"{table.name} has no row with a label")
    return named


def _both(labels: Iterable[str]) -> str:
    return " and ".join(repr(canonical(label)) for label in labels)


def labelled_clips(path: Path) -> Corpus:
    """Read labelled clips: a manifest, a corpus that names its labels, or folders named by label.

    In a folder without a manifest whose files' names don't give labels, the name of a file's own
    folder is its label, and the folder above that, if it lies within `path`, its speaker
    (``ann/angry/1.wav``). Files in `path` itself become skips.

    Raises `NotFoundError` and `InputError` as the loaders in `liser.corpora.registry`, and
    `InputError` if no clip has a label.
    """
    from liser.corpora.registry import guess_corpus, load_corpus

    corpus = load_corpus(guess_corpus(path), path)
    if path.is_dir() and not corpus.labels:
        corpus = _labelled_by_folder(corpus)
    if not any(u.label for u in corpus.utterances):
        raise InputError(
            f"{path} has no labelled clip: give a table with the columns path and label, or a "
            "folder whose folders are named by label"
        )
    return corpus


def _labelled_by_folder(corpus: Corpus) -> Corpus:
    """Return the corpus with folders' names as labels and speakers."""
    utterances, names, skipped = [], [], list(corpus.skipped)
    for utterance in corpus.utterances:
        *above, name, _ = ["", *PurePosixPath(utterance.id).parts]
        if not name:
            skipped.append(Skip(utterance.id, "no label", "it lies in no folder named by a label"))
            continue
        names.append(name)
        speaker = above[-1] if above else ""
        utterances.append(replace(utterance, label=canonical(name), speaker_id=speaker or None))
    labels = tuple(sorted({str(u.label) for u in utterances}))
    return replace(
        corpus,
        labels=labels,
        utterances=tuple(utterances),
        skipped=tuple(skipped),
        synonyms=renamed(names),
    )

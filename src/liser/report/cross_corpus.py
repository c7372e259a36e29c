"""A record of `liser cross-corpus` as an HTML page, as a table, or as a headline."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liser.corpora.registry import corpus_title
from liser.errors import InputError
from liser.report.benchmark import ADAPTED_NOTE
from liser.report.format import share, with_interval
from liser.report.page import page_environment, scored
from liser.storage import write_text
from liser.text.escaping import markup

if TYPE_CHECKING:
    from rich.table import Table

Results = Mapping[str, Any]
Row = Mapping[str, Any]


def report(results: Results, path: Path) -> None:
    """Write a record as one self-contained HTML page, without scripts, fonts or images.

    Raises:
        InputError: the record has no rows.
        MissingExtraError: Jinja is not installed.
        StorageError: the page cannot be written.
    """
    environment = page_environment()
    environment.filters |= {
        "count": lambda number: f"{number:,}".replace(",", "\u202f"),
        "corpora": corpora_name,
        "scored": scored,
        "share": share,
    }
    page = environment.get_template("cross_corpus.html.j2").render(
        results=results,
        adapted_note=ADAPTED_NOTE,
        headline=headline(results).replace(" %", "\u00a0%"),
        matrix=matrix(results),
        skipped=Counter(skip["reason"] for skip in results.get("skipped", ())).most_common(),
    )
    write_text(path, page)


def table(results: Results) -> "Table":
    """Return UAR by training and tested corpora as a table; raises `InputError` without rows."""
    from rich.box import SIMPLE
    from rich.table import Table

    caption = (
        "UAR with its 95 % interval over unseen speakers, on the emotions that training and test "
        "have in common (their number in brackets). Below each: speaker-adapted, without labels"
    )
    made = Table(title="Cross-corpus", caption=caption, box=SIMPLE)
    made.add_column("Trained on", no_wrap=True)
    rows = matrix(results)
    for row in rows[0]:
        made.add_column(markup(f"tested on {corpora_name([row['tested_on']])}"), justify="right")
    for line in rows:
        cells = [
            f"{with_interval(row, 'uar')} [{len(row['classes'])}]\n"
            f"{with_interval(row['speaker_adapted'], 'uar')}"
            for row in line
        ]
        made.add_row(markup(corpora_name(line[0]["trained_on"])), *map(markup, cells))
        made.add_section()
    return made


def headline(results: Results) -> str:
    """Sum up how well the student of all corpora does, and students of other corpora.

    >>> rows = [{"trained_on": on, "tested_on": "b", "classes": ["sad", "angry"], "uar": uar}
    ...         for on, uar in ((["a"], 0.6), (["b"], 0.7), (["a", "b"], 0.75))]
    >>> headline({"rows": rows, "common": ["sad", "angry"]})
    'Trained on a and b, the student recognises 75.0 % of the clips of an average emotion of b, \
on unseen speakers. Trained on other corpora alone, it recognises 60.0 % of b (a). Guessing among \
the 2 emotions that all have would recognise 50.0 %.'
    """
    lines = matrix(results)
    together = lines[-1]
    own = " and ".join(f"{_percent(r)} of {corpora_name([r['tested_on']])}" for r in together)
    elsewhere = ", ".join(
        f"{_percent(r)} of {corpora_name([r['tested_on']])} ({corpora_name(r['trained_on'])})"
        for line in lines[:-1]
        for r in line
        if r["tested_on"] not in r["trained_on"]
    )
    recognised = own.replace(" of ", " of the clips of an average emotion of ", 1)
    sentences = [
        f"Trained on {corpora_name(together[0]['trained_on'])}, the student recognises "
        f"{recognised}, on unseen speakers."
    ]
    if elsewhere:
        sentences.append(f"Trained on other corpora alone, it recognises {elsewhere}.")
    common = results.get("common")
    if common:
        sentences.append(
            f"Guessing among the {len(common)} emotions that all have would recognise "
            f"{100 / len(common):.1f} %."
        )
    return " ".join(sentences)


def matrix(results: Results) -> list[list[Row]]:
    """Return the rows by training set, each in the order of the tested corpora, all of them last.

    Raises:
        InputError: there are none.
    """
    rows = list(results.get("rows", ()))
    if not rows:
        raise InputError("the results hold no rows, so there is nothing to report")
    lines: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        lines.setdefault(tuple(row["trained_on"]), []).append(row)
    return sorted(lines.values(), key=lambda line: len(line[0]["trained_on"]))


def corpora_name(names: list[str]) -> str:
    """Return what readers call some corpora.

    >>> corpora_name(["ravdess", "cremad"])
    'RAVDESS and CREMA-D'
    """
    return " and ".join(corpus_title(name) for name in names)


def _percent(row: Row) -> str:
    return f"{100 * row['uar']:.1f} %"

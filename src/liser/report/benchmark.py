"""A benchmark's or an evaluation's record as an HTML page, as a table, or as a headline.

`liser benchmark`, `liser demo` and `liser evaluate` make the record. Only `rows` is needed: parts
of the page whose data are missing are left out.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liser.corpora.registry import corpus_title
from liser.errors import InputError, MissingExtraError
from liser.report.format import (
    change,
    comparison_name,
    percentage,
    plain,
    share,
    system_name,
    with_interval,
)
from liser.report.page import page_environment, ranged, scored, unbroken
from liser.report.robustness import robustness_note
from liser.storage import write_text
from liser.systems import SYSTEMS, names_of
from liser.text.escaping import markup

if TYPE_CHECKING:
    from rich.table import Table

Results = Mapping[str, Any]
Row = Mapping[str, Any]

ABLATION = names_of("student")[::-1]
"""The students, from the one without teachers to the one with both modalities'."""

FEW_LABELS = 0.1
"""The budget that the page shows in detail, where the record has it."""


def report(results: Results, path: Path) -> None:
    """Write a record as one self-contained HTML page, without scripts, fonts or images.

    The same record always gives the same bytes.

    Raises:
        InputError: the record has no rows, or a row lacks `system`, `labels` or `uar`.
        MissingExtraError: matplotlib or Jinja is not installed.
        StorageError: the page cannot be written.
    """
    rows = checked_rows(results)
    environment = page_environment()
    environment.filters |= {
        "share": lambda labels: unbroken(share(labels)),
        "scored": scored,
        "system": system_name,
        "colour": lambda system: SYSTEMS[system].colour if system in SYSTEMS else "blue",
        "count": lambda number: f"{number:,}".replace(",", "\u202f"),
        "perceived_note": perceived_note,
        "comparison": lambda one: unbroken(comparison_name(one)),
        "change": lambda row, key: ranged(change(row, key)),
        "percentage": lambda share: unbroken(percentage(share)),
        "robustness_note": lambda found: unbroken(robustness_note(found)),
    }
    page = environment.get_template("report.html.j2").render(
        results=results,
        title=title(results),
        headline=unbroken(headline(results)),
        systems=[(name, list(group)) for name, group in groupby(rows, itemgetter("system"))],
        figures=_figures(results),
        focus=_focus(rows),
        few=focus_budget(rows),
        perceived=perceived_of(rows),
        adapted_note=ADAPTED_NOTE if has_speaker_adapted(rows) else None,
        notes=notes(results),
        skipped=Counter(skip["reason"] for skip in results.get("skipped", ())).most_common(),
    )
    write_text(path, page)


def table(results: Results) -> "Table":
    """Return a record's scores as a table for the terminal.

    Raises:
        InputError: as `report`.
    """
    from rich.box import SIMPLE
    from rich.table import Table

    # as much as fits a terminal of 80 columns; the page and the record have the rest
    rows = checked_rows(results)
    caption, perceived = "UAR with its 95 % interval over speakers", perceived_of(rows)
    uars = {"perceived": "perceived"} if perceived else {}
    uars |= {"speaker_adapted": "adapted"} if has_speaker_adapted(rows) else {}
    others = ["WA", "ECE"][: 2 - len(uars)]
    if perceived:
        caption += f"; labels are {results.get('label_kind', 'given')}. {perceived_note(perceived)}"
    if "speaker_adapted" in uars:
        caption += f". {ADAPTED_NOTE}"
    made = Table(title=markup(title(results)), caption=caption, box=SIMPLE)
    made.add_column("System", no_wrap=True)
    for name in ("Labels", "UAR", *uars.values(), *others):
        made.add_column(name, justify="right", no_wrap=True)
    before = None
    for row in (*rows, *results.get("references", ())):
        if before not in (None, row["system"]):
            made.add_section()
        made.add_row(
            markup(system_name(row["system"])) if before != row["system"] else "",
            share(row["labels"]) if "labels" in row else "–",
            with_interval(row, "uar"),
            *(plain(row.get(key), "uar") for key in uars),
            *(plain(row, name.lower()) for name in others),
        )
        before = row["system"]
    return made


def headline(results: Results) -> str:
    """Sum up the figures for a newcomer in a few sentences.

    >>> rows = [{"system": "distilled", "labels": 0.1, "uar": 0.6},
    ...         {"system": "scratch", "labels": 0.1, "uar": 0.5},
    ...         {"system": "scratch", "labels": 1.0, "uar": 0.625}]
    >>> for sentence in headline({"rows": rows, "labels": ["sad", "calm"]}).split(". "):
    ...     print(sentence)
    With 10 % of the labels, the distilled student recognises 60.0 % of the clips of an average
        emotion, on unseen speakers
    The same student without teachers recognises 50.0 % with the same labels and 62.5 % with all
        labels
    Guessing would recognise 50.0 %.
    """
    rows = checked_rows(results)
    scores = {(row["system"], row["labels"]): f"{100 * row['uar']:.1f} %" for row in rows}
    few, first = focus_budget(rows), rows[0]["system"]
    if (first, few) not in scores:
        few = rows[0]["labels"]
    speakers = "on unseen speakers"
    if results.get("seen_speakers"):
        speakers = f"on speakers of whom {len(results['seen_speakers'])} are training speakers"
    sentences = [
        f"With {'all' if few == 1 else share(few)} of the labels, the "
        f"{system_name(first).lower()} recognises {scores[first, few]} of the clips of an "
        f"average emotion, {speakers}."
    ]
    budgets = {few: "with the same labels", 1.0: "with all labels"}
    scratch = [
        f"{scores['scratch', budget]} {words}"
        for budget, words in budgets.items()
        if ("scratch", budget) in scores
    ]
    if first == "distilled" and scratch:
        students = {row["system"]: row.get("student") for row in rows}
        same = students["scratch"] == students["distilled"]
        subject = "The same student" if same else f"A {students['scratch']!r} student"
        sentences.append(f"{subject} without teachers recognises {' and '.join(scratch)}.")
    if results.get("labels"):
        sentences.append(f"Guessing would recognise {100 * chance(results):.1f} %.")
    if results.get("synthetic"):
        sentences.insert(0, "These data are synthetic: the figures say nothing about real people.")
    return " ".join(sentences)


def notes(results: Results) -> list[str]:
    """Return notes on systems that are left out, the baselines' licences, and a single draw.

    >>> notes({"left_out": [{"system": "opensmile_svm", "why": "no clip has an audio file"}]})
    ['openSMILE + SVM is left out: no clip has an audio file.']
    """
    missing = [
        f"{system_name(one['system'])} is left out: {one['why']}."
        for one in results.get("left_out", ())
    ]
    licences = [f"{one['licence']}." for one in results.get("baselines", ())]
    once = results.get("settings", {}).get("draws") == 1
    quick = ["A quick run: one draw of the labels. Another draw moves scores by a few points."]
    return missing + licences + (quick if once else [])


def title(results: Results) -> str:
    """Return the record's title: its corpus, marked if it is synthetic."""
    corpus = str(results.get("corpus", "Results"))
    if results.get("synthetic") and corpus != "synthetic":
        return f"{corpus_title(corpus)} (synthetic)"
    return corpus_title(corpus)


def checked_rows(results: Results) -> list[Row]:
    """Return the rows, systems in the order of `SYSTEMS` and budgets rising.

    Raises:
        InputError: there are none, or one lacks `system`, `labels` or `uar`.
    """
    rows = list(results.get("rows", ()))
    if not rows:
        raise InputError("the results hold no rows, so there is nothing to report")
    for index, row in enumerate(rows):
        missing = {"system", "labels", "uar"} - row.keys()
        if missing:
            raise InputError(f"row {index} of the results has no {sorted(missing)[0]!r}")
    order = [*SYSTEMS, *sorted({row["system"] for row in rows} - SYSTEMS.keys())]
    return sorted(rows, key=lambda row: (order.index(row["system"]), row["labels"]))


def perceived_of(rows: Sequence[Row]) -> Mapping[str, Any] | None:
    """Return the first row's scores against perceived emotions; None if no row has any."""
    return next((row["perceived"] for row in rows if row.get("perceived")), None)


ADAPTED_NOTE = (
    "Adapted: the student's outputs are corrected by the mean of its earlier outputs for the same "
    "speaker, without labels"
)


def has_speaker_adapted(rows: Sequence[Row]) -> bool:
    """Tell whether any row has speaker-adapted scores."""
    return any(row.get("speaker_adapted") for row in rows)


def perceived_note(scores: Mapping[str, Any]) -> str:
    """Explain the scores against perceived emotions.

    >>> perceived_note({"clips": 90, "left_out": 10})
    'Perceived: the commonest answer of a crowd that heard and saw 90 clips; 10 with a tie left out'
    """
    return (
        f"Perceived: the commonest answer of a crowd that heard and saw {scores['clips']:,} clips; "
        f"{scores['left_out']:,} with a tie left out"
    )


def chance(results: Results) -> float:
    """Return the UAR of guessing: 1 / classes."""
    return 1 / len(results["labels"])


def focus_budget(rows: Sequence[Row]) -> float:
    """Choose the budget to show in detail: most students have it, and it is near 10 %."""
    of_students = Counter(row["labels"] for row in rows if row["system"] in ABLATION)
    budgets = of_students or Counter(row["labels"] for row in rows)
    return float(min(budgets, key=lambda b: (b == 1, -budgets[b], abs(b - FEW_LABELS))))


def _at(rows: Iterable[Row], systems: Sequence[str], budget: float) -> list[Row]:
    found = {row["system"]: row for row in rows if row["labels"] == budget}
    return [found[system] for system in systems if system in found]


def _focus(rows: Sequence[Row]) -> list[Row]:
    """Choose the rows that are shown in detail: with teachers and without."""
    return _at(rows, ("distilled", "scratch"), focus_budget(rows)) or [rows[0]]


def _figures(results: Results) -> dict[str, str]:
    """Return the figures that the record has data for, as SVG text by name."""
    try:
        from markupsafe import Markup

        from liser.report import figures
    except ImportError as error:
        raise MissingExtraError("matplotlib", "train") from error
    rows = checked_rows(results)
    names = {row["system"]: system_name(row["system"]) for row in rows}
    guess = chance(results) if results.get("labels") else 0.0
    drawn = {}
    if len({row["labels"] for row in rows}) > 1:
        full = _at(rows, ("scratch",), 1.0)
        baseline = full[0]["uar"] if full else None
        drawn["curve"] = figures.label_curve(rows, names, baseline, guess)
    ablation = _at(rows, ABLATION, focus_budget(rows))
    if len(ablation) > 1:
        drawn["bars"] = figures.interval_bars(ablation, names, guess)
    if results.get("robustness"):
        drawn["robustness"] = figures.robustness_dots(results["robustness"]["conditions"], guess)
    points = results.get("embedding_map")
    if points:
        labels = results.get("labels") or sorted(set(points["label"]))
        drawn["map"] = figures.embedding_map(points, labels)
    return {name: Markup(svg) for name, svg in drawn.items()}  # ours, and escaped by matplotlib

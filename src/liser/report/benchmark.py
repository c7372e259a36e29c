"""A results record in; one self-contained HTML page, a table for the terminal, or a sentence out.

The record is what `liser benchmark` and `liser demo` write as JSON. Only `rows` is needed: parts
of the page whose data are missing are left out.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liser.errors import InputError, MissingExtraError
from liser.storage import write_text
from liser.text.escaping import markup, visible

if TYPE_CHECKING:
    from jinja2 import Environment
    from rich.table import Table

Results = Mapping[str, Any]
Row = Mapping[str, Any]

SYSTEMS = {
    "distilled": "Distilled student",
    "distilled_speech": "Distilled, speech only",
    "distilled_face": "Distilled, face only",
    "scratch": "Student from scratch",
    "opensmile_svm": "openSMILE + SVM",
    "teacher_av": "Both teachers",
    "teacher_speech": "Speech teacher",
    "teacher_face": "Face teacher",
    "crowd_voice": "Crowd, hearing only",
}
CORPORA = {"ravdess": "RAVDESS", "cremad": "CREMA-D"}
ABLATION = ("scratch", "distilled_face", "distilled_speech", "distilled")
FEW_LABELS = 0.1  # the budget that the page shows in detail, where the record has it


def report(results: Results, path: Path) -> None:
    """Write a results record as one HTML page that needs nothing else: no script, font or image.

    The same record always gives the same bytes. The page is whole, or isn't there.

    Raises:
        InputError: the record has no rows, or a row lacks `system`, `labels` or `uar`.
        MissingExtraError: matplotlib or Jinja is not installed.
        StorageError: the page cannot be written.
    """
    from liser.report.robustness import change, part, robustness_note  # which builds on this file

    rows = checked_rows(results)
    environment = page_environment()
    environment.filters |= {
        "share": lambda labels: _unbroken(share(labels)),
        "scored": scored,
        "system": system_name,
        "count": lambda number: f"{number:,}".replace(",", "\u202f"),
        "perceived_note": perceived_note,
        "comparison": lambda one: _unbroken(comparison_name(one)),
        "change": lambda row, key: _ranged(change(row, key)),
        "part": lambda share: _unbroken(part(share)),
        "robustness_note": lambda found: _unbroken(robustness_note(found)),
    }
    page = environment.get_template("report.html.j2").render(
        results=results,
        title=title(results),
        headline=_unbroken(headline(results)),
        systems=[(name, list(group)) for name, group in groupby(rows, itemgetter("system"))],
        figures=_figures(results),
        focus=_focus(rows),
        few=focus_budget(rows),
        aside=perceived_of(rows),
        adapted_note=ADAPTED_NOTE if adapts(rows) else None,
        notes=notes(results),
        skipped=Counter(skip["reason"] for skip in results.get("skipped", ())).most_common(),
    )
    write_text(path, page)


def page_environment() -> "Environment":
    """Return where templates of pages are found; raises `MissingExtraError` without Jinja."""
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError("jinja2", "train") from error
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        finalize=lambda value: visible(value, keep_lines=True) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def table(results: Results) -> "Table":
    """Lay out a results record's scores for the terminal.

    Raises:
        InputError: as `report`.
    """
    from rich.box import SIMPLE
    from rich.table import Table

    # what fits a terminal of 80 columns; the page and the record say more
    rows = checked_rows(results)
    caption, aside = "UAR with its 95 % interval over speakers", perceived_of(rows)
    beside = [key for key, there in (("perceived", aside), ("adapted", adapts(rows))) if there]
    also = ["WA", "ECE"][: 2 - len(beside)]  # as many as fit
    if aside:
        caption += f"; labels are {results.get('label_kind', 'given')}. {perceived_note(aside)}"
    if "adapted" in beside:
        caption += f". {ADAPTED_NOTE}"
    made = Table(title=markup(title(results)), caption=caption, box=SIMPLE)
    made.add_column("System", no_wrap=True)
    for name in ("Labels", "UAR", *beside, *also):
        made.add_column(name, justify="right", no_wrap=True)
    before = None
    for row in (*rows, *results.get("references", ())):
        if before not in (None, row["system"]):
            made.add_section()
        made.add_row(
            markup(system_name(row["system"])) if before != row["system"] else "",
            share(row["labels"]) if "labels" in row else "–",
            with_interval(row, "uar"),
            *(plain(row.get(key), "uar") for key in beside),
            *(plain(row, name.lower()) for name in also),
        )
        before = row["system"]
    return made


def headline(results: Results) -> str:
    """Say in a sentence or two, for a newcomer, what the figures come to.

    >>> rows = [{"system": "distilled", "labels": 0.1, "uar": 0.6},
    ...         {"system": "scratch", "labels": 0.1, "uar": 0.5},
    ...         {"system": "scratch", "labels": 1.0, "uar": 0.625}]
    >>> for sentence in headline({"rows": rows, "labels": ["sad", "calm"]}).split(". "):
    ...     print(sentence)
    With 10 % of the labels, the distilled student recognises 60.0 % of the clips of an average
        emotion, from speakers that it has never heard
    The same student without teachers recognises 50.0 % with the same labels and 62.5 % with all
        of them
    Guessing would recognise 50.0 %.
    """
    rows = checked_rows(results)
    scores = {(row["system"], row["labels"]): f"{100 * row['uar']:.1f} %" for row in rows}
    few, first = focus_budget(rows), rows[0]["system"]
    if (first, few) not in scores:
        few = rows[0]["labels"]
    listeners = "speakers that it has never heard"
    if results.get("seen_speakers"):
        listeners = f"speakers of whom it was trained on {len(results['seen_speakers'])}"
    said = [
        f"With {'all' if few == 1 else share(few)} of the labels, the "
        f"{system_name(first).lower()} recognises {scores[first, few]} of the clips of an "
        f"average emotion, from {listeners}."
    ]
    plain = [(few, "with the same labels")] if few != 1 else []
    plain.append((1.0, "with all of them"))
    beside = [f"{scores['scratch', b]} {how}" for b, how in plain if ("scratch", b) in scores]
    if first == "distilled" and beside:
        shapes = {row["system"]: row.get("student") for row in rows}
        same = shapes["scratch"] == shapes["distilled"]
        who = "The same student" if same else f"A {shapes['scratch']!r} student"
        said.append(f"{who} without teachers recognises {' and '.join(beside)}.")
    if results.get("labels"):
        said.append(f"Guessing would recognise {100 * chance(results):.1f} %.")
    if results.get("synthetic"):
        said.insert(0, "These data are synthetic: the figures say nothing about real people.")
    return " ".join(said)


def notes(results: Results) -> list[str]:
    """Say which systems are missing and why, and under which licence a baseline may be used.

    >>> notes({"left_out": [{"system": "opensmile_svm", "why": "no clip has an audio file"}]})
    ['openSMILE + SVM is left out: no clip has an audio file.']
    """
    missing = [
        f"{system_name(one['system'])} is left out: {one['why']}."
        for one in results.get("left_out", ())
    ]
    licences = [f"{one['licence']}." for one in results.get("baselines", ())]
    return missing + licences


def title(results: Results) -> str:
    """Name the record: its corpus, and that it is synthetic where it is."""
    corpus = str(results.get("corpus", "Results"))
    corpus = CORPORA.get(corpus, corpus)
    if results.get("synthetic") and corpus != "synthetic":
        return f"{corpus} (synthetic)"
    return corpus


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
    known = list(SYSTEMS)
    known += sorted({row["system"] for row in rows} - SYSTEMS.keys())
    return sorted(rows, key=lambda row: (known.index(row["system"]), row["labels"]))


def system_name(system: str) -> str:
    """Give what readers call a system: a known name, or its own with spaces."""
    return SYSTEMS.get(system, system.replace("_", " ").capitalize())


def share(labels: float) -> str:
    """Write a fraction of the labels in percent.

    >>> share(0.05), share(1)
    ('5 %', '100 %')
    """
    return f"{100 * labels:g} %"


def with_interval(record: Mapping[str, Any], key: str) -> str:
    """Write a value with its interval where it has one.

    >>> with_interval({"uar": 0.6123, "uar_low": 0.58, "uar_high": 0.6449}, "uar")
    '0.612 (0.580–0.645)'
    """
    if record.get(key) is None:
        return "–"
    prefix = "" if key == "value" else f"{key}_"
    low, high = record.get(f"{prefix}low"), record.get(f"{prefix}high")
    if low is None or high is None:
        return f"{record[key]:.3f}"
    between = " to " if low < 0 else "–"
    return f"{record[key]:.3f} ({low:.3f}{between}{high:.3f})".replace("-", "−")


def perceived_of(rows: Sequence[Row]) -> Mapping[str, Any] | None:
    """Return a row's scores against what a crowd perceived, None where no row has any."""
    return next((row["perceived"] for row in rows if row.get("perceived")), None)


ADAPTED_NOTE = (
    "Adapted: the student got used to each speaker's voice by what it had said of the speaker's "
    "clips before, without labels"
)


def adapts(rows: Sequence[Row]) -> bool:
    """Tell whether any row has scores of a student that got used to its speakers."""
    return any(row.get("adapted") for row in rows)


def comparison_name(one: Mapping[str, Any]) -> str:
    """Say which systems are compared, with which shares of the labels, and how.

    >>> comparison_name({"system_a": "distilled", "labels_a": 0.1, "system_b": "scratch",
    ...                  "labels_b": 1, "kind": "ratio", "adapted": True})
    'Distilled student, 10 % ÷ Student from scratch, 100 %; both adapted'
    """
    sign = "÷" if one["kind"] == "ratio" else "−"
    a = f"{system_name(one['system_a'])}, {share(one['labels_a'])}"
    b = f"{system_name(one['system_b'])}, {share(one['labels_b'])}"
    return f"{a} {sign} {b}{'; both adapted' if one.get('adapted') else ''}"


def perceived_note(scores: Mapping[str, Any]) -> str:
    """Say what scores against perceived emotions are against.

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
    """Choose the budget to show in detail: most of the ablation has it, and it is near 10 %."""
    have = Counter(row["labels"] for row in rows if row["system"] in ABLATION)
    budgets = have or Counter(row["labels"] for row in rows)
    return float(min(budgets, key=lambda b: (b == 1, -budgets[b], abs(b - FEW_LABELS))))


def plain(record: Mapping[str, Any] | None, key: str) -> str:
    """Write a value without its interval, and a dash where there is none."""
    value = record.get(key) if record else None
    return "–" if value is None else f"{value:.3f}"


def _unbroken(words: str) -> str:
    """Keep a number and its percent sign on one line of the page."""
    return words.replace(" %", "\u00a0%")


def scored(record: Mapping[str, Any], key: str) -> str:
    """Mark up `with_interval`, so that a narrow table breaks before the interval, not in it."""
    return _ranged(with_interval(record, key))


def _ranged(words: str) -> str:
    from markupsafe import Markup

    value, _, ends = words.partition(" ")
    return value + Markup(' <span class="range">{}</span>').format(ends) if ends else value


def _at(rows: Iterable[Row], systems: Sequence[str], budget: float) -> list[Row]:
    found = {row["system"]: row for row in rows if row["labels"] == budget}
    return [found[system] for system in systems if system in found]


def _focus(rows: Sequence[Row]) -> list[Row]:
    """Choose the rows that are shown side by side in detail: with and without teachers."""
    return _at(rows, ("distilled", "scratch"), focus_budget(rows)) or [rows[0]]


def _figures(results: Results) -> dict[str, str]:
    """Draw what the record has data for, as SVG text under the figure's name."""
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

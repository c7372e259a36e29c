"""Results records as Markdown tables, which `readme_table.py` writes into documents."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from ingest_layouts import shares, students, who_talks
from liser.corpora.registry import corpus_title
from liser.errors import InputError
from liser.report.benchmark import (
    ADAPTED_NOTE,
    chance,
    checked_rows,
    has_speaker_adapted,
    headline,
    title,
)
from liser.report.format import comparison_name, share, system_name, with_interval
from markdown_table import Record, table
from scale_layouts import overhead, simulation
from speed_layouts import runtime, speed, speed_brief
from teach_layouts import (
    bars,
    bottlenecks,
    breaks,
    limits,
    memory,
    stages,
    voxceleb,
    waits,
    workers,
)


def markdown(results: Record, part: str = "") -> str:
    """Return a results record, or the part that a marker names, as Markdown.

    Raises `InputError` for an unknown part.
    """
    if part not in LAYOUTS:
        raise InputError(f"no layout is called {part!r}; there are {', '.join(LAYOUTS)}")
    return LAYOUTS[part](results)


def _benchmark(results: Record) -> str:
    """Lay out the UAR of each system and budget, and the comparisons."""
    rows = checked_rows(results)
    budgets = sorted({row["labels"] for row in rows})
    cells = _cells(rows)
    lines = [headline(results), ""]
    lines += table(
        [f"UAR, {title(results)}", *(f"{share(budget)} of the labels" for budget in budgets)],
        [
            [name, *(cells.get((name, budget), "") for budget in budgets)]
            for name in dict.fromkeys(name for name, _ in cells)
        ],
    )
    if results.get("comparisons"):
        lines += ["", *table(["Comparison", "UAR"], _comparisons(results["comparisons"]))]
    return "\n".join([*lines, "", _footnote(results)]) + "\n"


def _cells(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, float], str]:
    """Return the UAR by row name and budget; speaker-adapted students have rows of their own."""
    cells = {}
    for name, of_system in groupby(rows, lambda row: system_name(row["system"])):
        own = list(of_system)
        cells |= {(name, row["labels"]): with_interval(row, "uar") for row in own}
        cells |= {
            (f"{name}, speaker-adapted", row["labels"]): with_interval(
                row["speaker_adapted"], "uar"
            )
            for row in own
            if row.get("speaker_adapted")
        }
    return cells


def _comparisons(comparisons: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    lines = []
    for one in comparisons:
        value = with_interval(one, "value")
        if one.get("bar") is not None:
            value += f"; aim ≥ {one['bar']}: {'' if one['value'] >= one['bar'] else 'not '}reached"
        lines.append([comparison_name(one), value])
    return lines


def _footnote(results: Mapping[str, Any]) -> str:
    facts = []
    if results.get("clips") and results.get("speakers"):
        facts.append(f"{results['clips']:,} clips of {results['speakers']} speakers")
    if results.get("labels"):
        kind = f" {results['label_kind']}" if results.get("label_kind") else ""
        facts.append(f"{len(results['labels'])}{kind} emotions (guessing: {chance(results):.3f})")
    if results.get("folds"):
        facts.append(f"{len(results['folds'])} folds of whole speakers")
    facts.append("in brackets, 95 % intervals over speakers")
    if views := _views(results.get("settings", {}).get("distillation", {})):
        facts.append(f"views of each clip: {views}")
    if has_speaker_adapted(results["rows"]):
        facts.append(ADAPTED_NOTE[0].lower() + ADAPTED_NOTE[1:])
    made = f" Made by `{results['command']}`." if results.get("command") else ""
    return f"{'; '.join(facts)}.{made}"


def _views(settings: Mapping[str, Any]) -> str:
    tempi, shifts = settings.get("tempi", []), settings.get("shifts", [])
    views = [f"tempi {', '.join(f'{tempo:g}' for tempo in tempi)}"] if tempi else []
    if shifts:
        views.append(f"mel shifts {', '.join(f'{100 * shift:g}' for shift in shifts)} %")
    return ", ".join(views)


def _shipped(results: Record) -> str:
    """Lay out how the bundled models' twins score on speakers and corpora that they never met."""
    lines = [
        [
            row["model"],
            _where(row),
            with_interval(row, "uar"),
            with_interval(row, "uar_possible"),
            f"{row['answered']:.0%}",
            _percent(row["right_of_answered"]),
            f"{row['ece']:.3f}",
            f"{row['no_speech']:.1%}",
        ]
        for row in over_seeds(results["rows"])
    ]
    heads = ["model", "tested on", "UAR", "among the possible", "answered", "right if answered"]
    heads += ["calibration error", "no speech"]
    seeds = ", ".join(f"{name} {one['seeds']}" for name, one in results["models"].items())
    note = (
        "UAR is over all labels of the model; “among the possible” over the emotions that the "
        "tested corpus has. A clip without speech is wrong. In brackets, 95 % intervals over "
        f"speakers. Unseen speakers' rows are means of seeds: {seeds}; left-out corpora have one. "
        "Recordings go through the whole runtime, stored log-mels through what follows "
        "the front end."
    )
    return "\n".join([*table(heads, lines), "", note]) + "\n"


def over_seeds(rows: Sequence[Record]) -> list[dict[str, Any]]:
    """Return one row for each model, corpus, role and input: the mean over seeds.

    Something that is None for one seed is None.
    """

    def setting(row: Record) -> tuple[str, ...]:
        return (row["model"], row["role"], row["corpus"], row["input"])

    means = []
    for _, own in groupby(sorted(rows, key=setting, reverse=True), setting):
        group = list(own)
        mean: dict[str, Any] = dict(group[0])
        for key, value in group[0].items():
            if isinstance(value, float):
                values = [row[key] for row in group]
                mean[key] = None if None in values else sum(values) / len(values)
        means.append(mean)
    return means


def _where(row: Record) -> str:
    corpus, what = corpus_title(row["corpus"]), row["input"]
    if row["role"] == "left-out corpus":
        return f"{corpus}, left out; {row['classes']} emotions, {what}"
    return f"{corpus}, {row['speakers']} unseen speakers; {row['classes']} emotions, {what}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _robustness(results: Record) -> str:
    """Lay out the default model's scores on the same clips as recorded and degraded."""
    lines = []
    for name, record in results["models"]["default"]["robustness"].items():
        for row in record["conditions"]:
            change = row.get("change")
            lines.append(
                [
                    f"{corpus_title(name)}, {row['description']}",
                    with_interval(row, "uar"),
                    with_interval(change, "uar") if change else "",
                    f"{row['coverage']:.0%}",
                    f"{row['answered_wa']:.0%}" if row["answered_wa"] is not None else "–",
                ]
            )
    return "\n".join(table(["", "UAR", "change", "answered", "right if answered"], lines)) + "\n"


def _compression(results: Record) -> str:
    """Lay out what 8 bits saved and cost each model's twin."""
    lines = [
        [
            f"{model}, {PRECISIONS[row['system']]}",
            f"{row['parameters']:,}",
            f"{row['bytes'] / 1000:.0f}",
            f"{row['macs'] / 1e6:.1f}",
            f"{row['ms_median']:.2f} ({row['ms_min']:.2f})",
            with_interval(row, "uar"),
            with_interval(row, "change") if row["change"] else "",
        ]
        for model, record in results["models"].items()
        for row in record["compression"]["rows"]
    ]
    heads = ["", "parameters", "kB", "million MACs", "ms, median (least)", "UAR", "change"]
    return "\n".join(table(heads, lines)) + "\n"


def _short_speech(results: Record) -> str:
    """Lay out how often short speech is answered right, and how confidently."""
    lines = [
        [
            model,
            corpus_title(row["corpus"]),
            f"{row['duration_s']:g} s",
            f"{row['right']:.0%}",
            f"{row['confidence']:.0%}",
            f"{row['answered']:.0%}",
        ]
        for model, record in results["models"].items()
        for row in record["short_speech"]
    ]
    heads = ["model", "corpus", "speech", "right", "confidence, mean", "answered"]
    return "\n".join(table(heads, lines)) + "\n"


def _sessions(results: Record) -> str:
    """Lay out how often the default model is right, by kind of session, plain and adapted."""
    lines = [
        [
            corpus_title(row["corpus"]),
            row["emotions"],
            f"{row['right']:.0%}",
            f"{row['adapted']:.0%}",
        ]
        for row in results["models"]["default"]["sessions"]
    ]
    heads = ["corpus", "emotions in the session", "right", "right with --one-speaker"]
    return "\n".join(table(heads, lines)) + "\n"


def _cross_corpus(results: Record) -> str:
    """Lay out how students of one corpus and of all score on each."""
    tested = list(dict.fromkeys(row["tested_on"] for row in results["rows"]))
    trained = list(dict.fromkeys(tuple(row["trained_on"]) for row in results["rows"]))
    at = {(tuple(row["trained_on"]), row["tested_on"]): row for row in results["rows"]}
    lines = [
        [
            " and ".join(corpus_title(name) for name in names),
            *(
                f"{with_interval(at[names, corpus], 'uar')}, {len(at[names, corpus]['classes'])}"
                for corpus in tested
            ),
            *(with_interval(at[names, corpus]["common"], "uar") for corpus in tested),
        ]
        for names in trained
    ]
    heads = [
        "trained on",
        *(f"{corpus_title(name)}, UAR, number of emotions" for name in tested),
        *(f"{corpus_title(name)}, on the {len(results['common'])} common ones" for name in tested),
    ]
    made = f"Made by `{results['command']}`." if results.get("command") else ""
    return "\n".join([*table(heads, lines), "", made]) + "\n"


def _degradation_augmentation(results: Record) -> str:
    """Lay out the UAR under each condition by how often training clips were degraded."""
    shares = list(dict.fromkeys(row["degradation_augmentation"] for row in results["rows"]))
    at = {(row["condition"], row["degradation_augmentation"]): row for row in results["rows"]}
    lines = [
        [name, *(f"{at[name, one]['uar']:.3f}" for one in shares)]
        for name in dict.fromkeys(row["condition"] for row in results["rows"])
    ]
    return "\n".join(table(["condition", *(f"{one:g}" for one in shares)], lines)) + "\n"


def _bundled(results: Record) -> str:
    """Lay out the default model's scores in a few rows, for the README."""
    rows = [row for row in over_seeds(results["rows"]) if row["model"] == "default"]
    known = {
        row["corpus"]: row
        for row in rows
        if row["role"] == "unseen speakers" and (row["corpus"], row["input"]) != CREMAD_FILES
    }
    strange = [row for row in rows if row["role"] == "left-out corpus"]
    worst = min(strange, key=lambda row: float(row["uar_possible"]))
    lines = [
        _bundled_line(f"{words}, {known[name]['classes']} emotions", known[name], "uar")
        for name, words in SHOWN.items()
    ]
    degraded = results["models"]["default"]["robustness"]["ravdess"]["conditions"]
    for row in degraded:
        if words := SHOWN_CONDITIONS.get(row.get("condition", "")):
            renamed = {**row, "answered": row["coverage"], "right_of_answered": row["answered_wa"]}
            lines.append(_bundled_line(words, renamed, "uar"))
    name = corpus_title(worst["corpus"])
    lines.append(_bundled_line(f"left out: {name}", worst, "uar_possible"))
    return "\n".join(table(["", "UAR", "answered", "of these right"], lines)) + "\n"


def _bundled_line(name: str, row: Record, key: str) -> list[str]:
    shares = (f"{row['answered']:.0%}", _percent(row["right_of_answered"]))
    return [name, with_interval(row, key), *shares]


def _adapted(results: Record) -> str:
    """Lay out the UAR before and after `liser adapt`, as means over draws."""
    lines = []
    for (bundle, corpus, kind, clips), own in groupby(results["rows"], _setting):
        rows = list(own)

        def mean(key: str, rows: Sequence[Record] = rows) -> float:
            return sum(row[key] for row in rows) / len(rows)

        after = {key: mean(f"uar_after{key}") for key in ("", "_low", "_high")}
        lines.append(
            [
                f"{corpus_title(corpus)}{_role(bundle)}; {rows[0]['emotions']} emotions",
                f"{kind} speakers" if kind == "other" else "the same speaker",
                str(clips),
                f"{mean('uar_before'):.3f}",
                f"{mean('uar_possible'):.3f}",
                f"{after['']:.3f} ({after['_low']:.3f}–{after['_high']:.3f})",
            ]
        )
    heads = ["corpus", "clips of", "an emotion", "before", "of possible emotions", "after"]
    return "\n".join(table(heads, lines)) + "\n"


def _setting(row: Record) -> tuple[str, str, str, int]:
    return row["bundle"], row["corpus"], row["speakers"], row["clips_per_emotion"]


def _role(bundle: str) -> str:
    """Return what a twin never met, by its folder's name in `ship.py`."""
    if "unseen-speakers" in bundle:
        return ", unseen speakers"
    return ", left out" if "without-" in bundle else ""


def _aims(results: Record) -> str:
    """Lay out what was aimed at beside what was reached, plain and speaker-adapted."""
    uar, ratio = AIMS[results["corpus"]]
    full = next(r for r in results["rows"] if (r["system"], r["labels"]) == ("distilled", 1.0))
    ratios = {
        bool(one.get("speaker_adapted")): one["value"]
        for one in results["comparisons"]
        if (one["kind"], one["system_b"]) == ("ratio", "scratch") and one["labels_a"] == 0.1
    }
    lines = [
        ["UAR with all labels", uar, full["uar"], full["speaker_adapted"]["uar"]],
        ["10 % distilled ÷ all labels from scratch", ratio, ratios[False], ratios[True]],
    ]
    heads = ["", "aim", "plain", "speaker-adapted"]
    cells = [[name, *(f"{v:.3f}" for v in values)] for name, *values in lines]
    return "\n".join(table(heads, cells)) + "\n"


def _speech_search(results: Record) -> str:
    """Lay out how many recordings have speech, found by the first search and by both."""
    lines = [
        [
            row["name"],
            f"{row['sounds']:,}",
            *(f"{row[f'with_speech_{which}']:,}" for which in ("first", "both")),
            *(f"{row[f'speech_s_{which}'] / row['duration_s']:.1%}" for which in ("first", "both")),
        ]
        for row in results["rows"]
    ]
    heads = ["", "recordings", "with speech, Silero", "both", "of the time, Silero", "both"]
    return "\n".join(table(heads, lines)) + "\n"


AIMS = {"ravdess": (0.72, 1.05), "cremad": (0.68, 1.0)}
"""UAR and ratio that were aimed at before the benchmark was run, by corpus."""
SHOWN = {
    "ravdess": "RAVDESS, English",
    "cremad": "CREMA-D, English",
    "nemo": "nEMO, Polish",
    "ased": "ASED, Amharic",
}
"""Corpora whose unseen speakers the README shows."""
SHOWN_CONDITIONS = {
    "telephone": "RAVDESS by telephone",
    "speech-noise-5db": "RAVDESS in loud noise",
}
"""Degraded sound that the README shows."""
PRECISIONS = {"student": "32-bit floats", "int8": "8 bits, as shipped"}
CREMAD_FILES = ("cremad", "recordings")
"""Too few: 69 clips."""
LAYOUTS: dict[str, Callable[[Record], str]] = {
    "adapted": _adapted,
    "": _benchmark,
    "shipped": _shipped,
    "bundled": _bundled,
    "runtime": runtime,
    "aims": _aims,
    "robustness": _robustness,
    "compression": _compression,
    "short_speech": _short_speech,
    "sessions": _sessions,
    "speed": speed,
    "speed_brief": speed_brief,
    "cross_corpus": _cross_corpus,
    "speech_search": _speech_search,
    "ingest": shares,
    "who_talks": who_talks,
    "students": students,
    "degradation_augmentation": _degradation_augmentation,
    "scale_queue": simulation,
    "scale_overhead": overhead,
    "teach_stages": stages,
    "teach_waits": waits,
    "teach_workers": workers,
    "teach_memory": memory,
    "teach_bars": bars,
    "teach_voxceleb": voxceleb,
    "teach_bottlenecks": bottlenecks,
    "teach_limits": limits,
    "teach_breaks": breaks,
}
"""Layouts by the marker's part after the slash; without one, a benchmark's record."""

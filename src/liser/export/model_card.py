"""The model card: what a bundle's record says, for people; what it leaves out is not made up.

In the form of Mitchell et al. 2019, "Model Cards for Model Reporting", arXiv 1810.03993.
"""

from collections.abc import Mapping
from typing import Any

from liser.bundle import Bundle
from liser.text.escaping import markdown

TERMS: dict[str, str] = {
    "ravdess": "RAVDESS, CC BY-NC-SA 4.0 (Livingstone & Russo 2018): no commercial use",
    "cremad": "CREMA-D, ODbL 1.0 (Cao et al. 2014)",
    "synthetic": "made by liser itself: no terms, and no speech of people",
}
"""Terms of the corpora that liser knows by name."""

NOT_STATED = "not stated"


def card(bundle: Bundle) -> str:
    """Return the model card in Markdown, written from the record alone.

    `bundle.provenance` may hold, beside what `distill` notes there, ``terms`` (a list of
    sentences on the data and teachers), ``licence`` (of the weights), ``results`` (a list of
    ``{"what": …, "uar": …, "low": …, "high": …}``) and ``weaknesses`` (a list of sentences).
    """
    told = bundle.provenance
    parts = [
        f"# {markdown(bundle.name)}: speech emotion in {len(bundle.labels)} classes",
        f"Made with liser {_said(told, 'liser')}. Hears speech, and tells which of "
        f"{', '.join(map(markdown, bundle.labels))} it sounds like. {_abstention(bundle)}",
        "## Use",
        '```python\nimport liser\n\nrecognizer = liser.load("path/to/this/folder")\n'
        'print(recognizer.predict("clip.wav"))\n```',
        "## The model",
        _table(
            {
                "parameters": f"{bundle.parameters:,}",
                "precision": bundle.precision,
                "input": f"mono waveform at {bundle.sample_rate:,} Hz, up to "
                f"{bundle.window_s:g} s at once",
                **_variants(told),
                "temperature": f"{bundle.temperature:.3f}",
                "labels say": _kind(told),
                "commit": _said(told, "commit"),
            }
        ),
        "## What it was made of",
        _bullets(_materials(told)),
        "## Terms",
        _bullets(_terms(told)),
        "## How good it is",
        _results(told),
        "## What it is bad at",
        _bullets([markdown(str(one)) for one in told.get("weaknesses") or [_UNKNOWN]]),
    ]
    return "\n\n".join(parts) + "\n"


def _said(record: Mapping[str, Any], field: str, otherwise: str = NOT_STATED) -> str:
    """Return what a record says in a field, for Markdown: it is text from elsewhere."""
    return markdown(str(record[field])) if field in record else otherwise


def _variants(told: Mapping[str, Any]) -> dict[str, str]:
    """Say in which variants each clip is heard, if in several: so many times longer it takes."""
    settings = told.get("settings") or {}
    tempi, shifts = settings.get("tempi", [1.0]), settings.get("shifts", [])
    rows = {} if len(tempi) == 1 else {"tempi": "mean over " + ", ".join(f"{t:g}" for t in tempi)}
    if shifts:
        rows["shifts"] = ", ".join(f"{100 * s:+g} %" for s in shifts) + " of the mel axis, too"
    return rows


def calibrated_threshold(told: Mapping[str, Any]) -> float | None:
    """Return the threshold that the last training's validation speakers gave, None if none did.

    That of an earlier training doesn't count: fine-tuning changes how sure a student is.
    """
    found: float | None = _last_result(told).get("threshold")
    return found


def _last_result(told: Mapping[str, Any]) -> Mapping[str, Any]:
    trainings = [told, *told.get("finetuned", [])]
    return trainings[-1].get("result") or {}


def _abstention(bundle: Bundle) -> str:
    """Say when there is no answer, and how it came to that."""
    result = _last_result(bundle.provenance)
    if calibrated_threshold(bundle.provenance) != bundle.threshold:
        how = "This was set by hand." if bundle.threshold > 0 else "No threshold was calibrated."
    else:
        share, right = result.get("coverage"), result.get("answered_wa")
        known = share is not None and right is not None
        how = "On the validation speakers, that it was chosen on, " + (
            f"it answers {share:.0%} of the clips, {right:.0%} of them right."
            if known
            else f"what is answered is {NOT_STATED}."
        )
    if bundle.threshold == 0:
        return f"It always answers. {how}"
    return f"Below {bundle.threshold:.2f} for the best label the answer is “uncertain”. {how}"


_UNKNOWN = (
    "Not measured for this model. Any model of acted emotion is worse on emotion that isn't acted, "
    "in other languages, in noise, and on voices unlike those that it was made of."
)


def _kind(told: Mapping[str, Any]) -> str:
    kinds = {
        "intended": "which emotion the speaker meant to show",
        "perceived": "which emotion others perceived",
    }
    return kinds.get(str(told.get("label_kind")), NOT_STATED)


def _materials(told: Mapping[str, Any]) -> list[str]:
    speakers = told.get("speakers")
    counted = f"{len(speakers)} speakers" if isinstance(speakers, list) else "speakers not stated"
    said = [
        f"Corpus: {_said(told, 'corpus')}, {_said(told, 'clips')} clips "
        f"({_said(told, 'labelled')} labelled), {counted}"
    ]
    said += [f"Teacher: {_said(one, 'name')}" for one in told.get("teachers", [])]
    backbone = told.get("backbone")
    if isinstance(backbone, Mapping):
        clips = backbone.get("clips", {})
        heard = ", ".join(
            f"{markdown(str(n))} clips of {markdown(str(name))}" for name, n in clips.items()
        )
        said.append(f"Inherited from: {_said(backbone, 'encoder')}, which heard {heard}")
    said += [
        f"Fine-tuned on: {_said(one, 'corpus')}, {_said(one, 'clips')} clips"
        for one in told.get("finetuned", [])
    ]
    return said


def _terms(told: Mapping[str, Any]) -> list[str]:
    corpora = [*str(told.get("corpus", "")).split("+"), *_heard(told)]
    known = [TERMS[name] for name in dict.fromkeys(corpora) if name in TERMS]
    unknown = [
        f"{markdown(name)}: terms {NOT_STATED}"
        for name in dict.fromkeys(corpora)
        if name not in TERMS
    ]
    given = [markdown(str(one)) for one in told.get("terms", [])]
    if told.get("teachers") and not given:
        given = [f"the teachers: terms {NOT_STATED}"]
    licence = "These weights: " + _said(told, "licence", "licence " + NOT_STATED)
    bound = "Weights are bound by what the data and the teachers allow."
    return [licence, *known, *unknown, *given, bound]


def _heard(told: Mapping[str, Any]) -> list[str]:
    backbone = told.get("backbone")
    return list(backbone.get("clips", {})) if isinstance(backbone, Mapping) else []


def _results(told: Mapping[str, Any]) -> str:
    rows = told.get("results") or []
    if not rows:
        return "Not measured, or not stated."
    lines = ["| tested on | UAR | 95 % interval |", "|---|---|---|"]
    for row in rows:
        low, high = row.get("low"), row.get("high")
        between = f"{low:.3f}–{high:.3f}" if low is not None and high is not None else NOT_STATED
        lines.append(f"| {markdown(str(row['what']))} | {row['uar']:.3f} | {between} |")
    return "\n".join(lines)


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {name} | {said} |" for name, said in rows.items())]
    )


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)

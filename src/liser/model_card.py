"""The model card: a bundle's record for people; it makes nothing up.

In the form of Mitchell et al. 2019, "Model Cards for Model Reporting", arXiv 1810.03993.
"""

from collections.abc import Mapping
from typing import Any

from liser.bundle import Bundle
from liser.text.escaping import markdown

TERMS: dict[str, str] = {
    "ravdess": "RAVDESS, CC BY-NC-SA 4.0 (Livingstone & Russo 2018): no commercial use",
    "cremad": "CREMA-D, ODbL 1.0 (Cao et al. 2014)",
    "nemo": "nEMO, CC BY-NC-SA 4.0 (Christop 2024): no commercial use",
    "ased": "ASED, no licence stated (Retta et al. 2022): research",
    "synthetic": "synthetic speech made by liser: no terms",
}
"""Terms of the corpora that liser knows by name."""

NOT_STATED = "not stated"

_Provenance = Mapping[str, Any]


def card(bundle: Bundle) -> str:
    """Return the model card in Markdown, from the record alone.

    Beside the fields that `distill` writes, `bundle.provenance` may hold ``terms`` (a list of
    sentences on the data and teachers), ``licence`` (of the weights), ``results`` (a list of
    ``{"what": …, "uar": …, "low": …, "high": …}``) and ``weaknesses`` (a list of sentences).
    """
    provenance = bundle.provenance
    parts = [
        f"# {markdown(bundle.name)}: speech emotion in {len(bundle.labels)} classes",
        f"Recognises emotions in speech: {', '.join(map(markdown, bundle.labels))}. "
        f"{_abstention(bundle)} "
        f"Made with liser {_field(provenance, 'liser')}.",
        "## Use",
        '```python\nimport liser\n\nrecognizer = liser.load("path/to/this/folder")\n'
        'print(recognizer.predict("clip.wav"))\n```',
        "## Model",
        _table(
            {
                "parameters": f"{bundle.parameters:,}",
                "precision": bundle.precision,
                "input": f"mono waveform at {bundle.sample_rate:,} Hz, up to "
                f"{bundle.window_s:g} s at once",
                **_views(provenance),
                "temperature": f"{bundle.temperature:.3f}",
                "labels": _label_kind(provenance),
                "commit": _field(provenance, "commit"),
            }
        ),
        "## Training data and teachers",
        _bullets(_materials(provenance)),
        "## Terms",
        _bullets(_terms(provenance)),
        "## Results",
        _results(provenance),
        "## Weaknesses",
        _bullets([markdown(str(one)) for one in provenance.get("weaknesses") or [_UNMEASURED]]),
    ]
    return "\n\n".join(parts) + "\n"


def calibrated_threshold(provenance: _Provenance) -> float | None:
    """Return the threshold from the last training's validation speakers; None without one.

    An earlier training's threshold doesn't count: fine-tuning changes how sure a student is.
    """
    threshold: float | None = _last_result(provenance).get("threshold")
    return threshold


def _field(record: _Provenance, name: str, otherwise: str = NOT_STATED) -> str:
    """Return a field of the record, escaped: its text may come from anybody."""
    return markdown(str(record[name])) if name in record else otherwise


def _views(provenance: _Provenance) -> dict[str, str]:
    """Return a row for each kind of test-time augmentation: tempi, and shifts of the mel axis."""
    settings = provenance.get("settings") or {}
    tempi, shifts = settings.get("tempi", [1.0]), settings.get("shifts", [])
    rows = {} if len(tempi) == 1 else {"tempi": "mean over " + ", ".join(f"{t:g}" for t in tempi)}
    if shifts:
        rows["shifts"] = ", ".join(f"{100 * s:+g} %" for s in shifts) + " of the mel axis, too"
    return rows


def _last_result(provenance: _Provenance) -> _Provenance:
    trainings = [provenance, *provenance.get("finetuned", []), *provenance.get("adapted", [])]
    return trainings[-1].get("result") or {}


def _abstention(bundle: Bundle) -> str:
    """Say when the label is "uncertain", and where the threshold comes from."""
    result = _last_result(bundle.provenance)
    adapted = bundle.provenance.get("adapted")
    if adapted and result.get("threshold") is None and bundle.threshold > 0:
        how = "The threshold is that of the model which was adapted."
    elif calibrated_threshold(bundle.provenance) != bundle.threshold:
        how = (
            "The threshold was set by hand."
            if bundle.threshold > 0
            else "No threshold was calibrated."
        )
    else:
        coverage, accuracy = result.get("coverage"), result.get("answered_wa")
        known = coverage is not None and accuracy is not None
        who = "clips left out of the fit, which" if adapted else "validation speakers, who"
        how = f"On the {who} set the threshold, " + (
            f"it labels {coverage:.0%} of the clips, {accuracy:.0%} of them correctly."
            if known
            else f"the share of labelled clips is {NOT_STATED}."
        )
    if bundle.threshold == 0:
        return f"It is never “uncertain”. {how}"
    return (
        f"If the best emotion's probability is below {bundle.threshold:.2f}, the label is "
        f"“uncertain”. {how}"
    )


_UNMEASURED = (
    "Not measured for this model. Any model of acted emotion is worse on emotion that isn't acted, "
    "in other languages, in noise, and on voices unlike those that it was trained on."
)


def _label_kind(provenance: _Provenance) -> str:
    kinds = {
        "intended": "the emotion that the speaker meant to show",
        "perceived": "the emotion that others perceived",
        "given": "as whoever labelled the clips gave them",
    }
    return kinds.get(str(provenance.get("label_kind")), NOT_STATED)


def _materials(provenance: _Provenance) -> list[str]:
    speakers = provenance.get("speakers")
    count = f"{len(speakers)} speakers" if isinstance(speakers, list) else "speakers not stated"
    lines = [
        f"Corpus: {_field(provenance, 'corpus')}, {_field(provenance, 'clips')} clips "
        f"({_field(provenance, 'labelled')} labelled), {count}"
    ]
    lines += [f"Teacher: {_field(one, 'name')}" for one in provenance.get("teachers", [])]
    backbone = provenance.get("backbone")
    if isinstance(backbone, Mapping):
        clips = ", ".join(
            f"{markdown(str(n))} clips of {markdown(str(corpus))}"
            for corpus, n in backbone.get("clips", {}).items()
        )
        encoder = _field(backbone, "encoder")
        lines.append(f"Backbone: weight transfer from {encoder}, pretrained on {clips}")
        lines += [
            f"Backbone: further encoder {_field(one, 'encoder')}"
            for one in backbone.get("further_encoders", [])
        ]
    lines += [
        f"Fine-tuned on: {_field(one, 'corpus')}, {_field(one, 'clips')} clips"
        for one in provenance.get("finetuned", [])
    ]
    return [*lines, *map(_adaptation, provenance.get("adapted", []))]


def _adaptation(record: _Provenance) -> str:
    """Return what a model was adapted to: clips, labels, speakers, and the model before."""
    counts = ", ".join(f"{markdown(label)} {n}" for label, n in record.get("labels", {}).items())
    parent = record.get("parent", {})
    speakers = len(record.get("speakers", []))
    return (
        f"Adapted to: {_field(record, 'corpus')}, {_field(record, 'clips')} clips ({counts}), "
        f"{f'{speakers} speakers' if speakers else 'speakers not stated'}, from "
        f"{_field(parent, 'name')} (SHA-256 of its graph {str(parent.get('sha256', ''))[:16]})"
    )


def _terms(provenance: _Provenance) -> list[str]:
    corpora = [*str(provenance.get("corpus", "")).split("+"), *_backbone_corpora(provenance)]
    corpora += [str(one.get("corpus", "")) for one in provenance.get("adapted", [])]
    known = [TERMS[name] for name in dict.fromkeys(corpora) if name in TERMS]
    unknown = [
        f"{markdown(name)}: terms {NOT_STATED}"
        for name in dict.fromkeys(corpora)
        if name not in TERMS
    ]
    given = [markdown(str(one)) for one in provenance.get("terms", [])]
    if provenance.get("teachers") and not given:
        given = [f"the teachers: terms {NOT_STATED}"]
    licence = "These weights: " + _field(provenance, "licence", "licence " + NOT_STATED)
    bound = "The weights may be used only as the data and the teachers allow."
    return [licence, *known, *unknown, *given, bound]


def _backbone_corpora(provenance: _Provenance) -> list[str]:
    backbone = provenance.get("backbone")
    return list(backbone.get("clips", {})) if isinstance(backbone, Mapping) else []


def _results(provenance: _Provenance) -> str:
    rows = [*(provenance.get("results") or []), *_left_out(provenance)]
    if not rows:
        return "Not measured, or not stated."
    lines = ["| tested on | UAR | 95 % interval |", "|---|---|---|"]
    for row in rows:
        low, high = row.get("low"), row.get("high")
        interval = f"{low:.3f}–{high:.3f}" if low is not None and high is not None else NOT_STATED
        lines.append(f"| {markdown(str(row['what']))} | {row['uar']:.3f} | {interval} |")
    return "\n".join(lines)


def _left_out(provenance: _Provenance) -> list[dict[str, Any]]:
    """Return how an adapted model predicts clips that were left out of the fit."""
    adapted = provenance.get("adapted") or [{}]
    scores = adapted[-1].get("left_out")
    if not scores:
        return []
    what = "speakers" if scores["by_speaker"] else "clips, of speakers that took part,"
    return [{"what": f"its own clips: {what} left out of the fit in turn", "uar": scores["uar"]}]


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    )


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)

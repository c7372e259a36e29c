"""Adapts a recogniser to a few labelled recordings: its answer is fitted anew, its graph edited.

The result is a bundle like any other. Its graph is the model's own with one more linear layer,
from logits and features to the new logits.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from liser import __version__
from liser.adaptation.fit import CLIPS_A_LABEL, AdaptedAnswer, LabelledClips, fit_answer
from liser.bundle import UNCERTAIN, Bundle
from liser.corpora.base import Corpus, Skip, Utterance
from liser.errors import InputError, MediaError
from liser.fingerprint import fingerprint
from liser.labels import canonical, in_order
from liser.media.audio import load_audio
from liser.onnx_file.linear_head import with_linear_head
from liser.posteriors import Floats
from liser.runtime.graph import Graph
from liser.text.escaping import readable

if TYPE_CHECKING:
    from liser.runtime.recognizer import Recognizer, Source

Outputs = tuple[Floats, Floats]
"""Log-posteriors (classes,) and features (dim,) of a clip."""


@dataclass(slots=True)
class _Collected:
    """The clips so far: name, label, speaker and outputs of each usable one, and the skips."""

    clips: list[tuple[str, str, str | None]] = field(default_factory=list)
    outputs: list[Outputs] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)
    lost: dict[str, Skip] = field(default_factory=dict)
    """A skip of each label that has one."""

    def add(
        self, name: str, label: str, speaker: str | None, observe: Callable[[], Outputs]
    ) -> None:
        """Compute a clip's outputs; a clip that can't be used becomes a skip."""
        try:
            outputs = observe()
        except InputError as error:
            skip = Skip(name, "not usable", str(error))
        except Exception as error:
            skip = Skip.of(name, error)
        else:
            self.clips.append((name, label, speaker))
            self.outputs.append(outputs)
            return
        self.skipped.append(skip)
        self.lost.setdefault(label, skip)

    def labelled(self) -> LabelledClips:
        """Return the usable clips."""
        log_posteriors, features = zip(*self.outputs, strict=True)
        return LabelledClips(
            np.array(log_posteriors),
            np.array(features),
            tuple(label for _, label, _ in self.clips),
            tuple(speaker for _, _, speaker in self.clips),
        )


def adapt_to_sources(
    recognizer: "Recognizer",
    sources: Sequence["Source"],
    labels: Sequence[str],
    speakers: Sequence[str | None] | None = None,
    sample_rate: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> "Recognizer":
    """Adapt to recordings; see `liser.Recognizer.adapt`."""
    if speakers is None:
        speakers = [None] * len(sources)
    if not len(sources) == len(labels) == len(speakers):
        raise InputError(
            f"{len(sources)} recordings need a label each, and a speaker if speakers are given, "
            f"not {len(labels)} labels and {len(speakers)} speakers"
        )
    wanted = _label_set(labels)
    collected = _Collected()
    for number, source in enumerate(sources):

        def observe(source: "Source" = source) -> Outputs:
            is_file = isinstance(source, str | os.PathLike) or hasattr(source, "read")
            return recognizer.observe(source, None if is_file else sample_rate)

        name = f"clip {number}"
        if isinstance(source, str | os.PathLike):
            name = readable("/".join(Path(source).parts[-2:]))
        collected.add(name, canonical(labels[number]), speakers[number], observe)
        advance()
    return _adapted(recognizer, collected, wanted, "clips", "given")


def adapt_to_corpus(
    recognizer: "Recognizer", corpus: Corpus, advance: Callable[[], None] = lambda: None
) -> tuple["Recognizer", tuple[Skip, ...]]:
    """Adapt to the labelled clips of a corpus; also return the skips, those of the corpus first.

    `advance` is called after each labelled clip.

    Raises `InputError` as `liser.Recognizer.adapt`.
    """
    labelled = [u for u in corpus.utterances if u.label is not None]
    wanted = _label_set([str(u.label) for u in labelled], corpus.skipped)
    collected = _Collected(skipped=list(corpus.skipped))
    for utterance in labelled:

        def observe(u: Utterance = utterance) -> Outputs:
            return observe_clip(recognizer, u)

        collected.add(utterance.id, str(utterance.label), utterance.speaker_id, observe)
        advance()
    adapted = _adapted(recognizer, collected, wanted, corpus.name, corpus.label_kind)
    return adapted, tuple(collected.skipped)


def observe_clip(recognizer: "Recognizer", utterance: Utterance) -> Outputs:
    """Return the outputs of a clip; raises as `liser.Recognizer.observe`."""
    path = utterance.audio or utterance.video
    if path is None:
        raise MediaError("no sound", f"{utterance.id} has no audio and no video")
    if utterance.start_s == 0 and utterance.end_s is None:
        return recognizer.observe(path)
    rate = recognizer.bundle.sample_rate
    segment = load_audio(path, rate, utterance.start_s, utterance.end_s)
    return recognizer.observe(segment, rate)


def _label_set(labels: Sequence[str], skipped: Sequence[Skip] = ()) -> tuple[str, ...]:
    """Return the canonical labels, each once; `skipped` are clips that others may have lost."""
    for label in labels:
        if not isinstance(label, str) or not label.strip() or canonical(label) == UNCERTAIN:
            raise InputError(f"label {label!r} is not the name of an emotion")
    wanted = in_order(sorted({canonical(label) for label in labels}))
    if len(wanted) < 2:
        lost = [f" ({len(skipped)} skipped, such as {s.id}: {s.reason})" for s in skipped[:1]]
        found = f"all clips have the label {wanted[0]!r}" if wanted else "there is no labelled clip"
        raise InputError(f"{found}{''.join(lost)}: give clips of two labels at least")
    return wanted


def _adapted(
    recognizer: "Recognizer",
    collected: _Collected,
    labels: tuple[str, ...],
    corpus: str,
    label_kind: str,
) -> "Recognizer":
    """Fit the answer, and put it into the graph and the bundle."""
    usable = {label for _, label, _ in collected.clips}
    for label in labels:
        if label not in usable:
            skip = collected.lost[label]
            raise InputError(
                f"no clip of {label!r} can be used ({skip.id}: {skip.reason}, {skip.detail}): "
                "give others, or leave the label out"
            )
    parent, graph = recognizer.bundle, recognizer._graph
    answer = fit_answer(collected.labelled(), parent.labels, labels)
    weight = answer.weight.copy()
    weight[: len(parent.labels)] /= parent.temperature  # the graph's logits aren't calibrated
    model = graph.model()
    record = {
        "liser": __version__,
        "corpus": corpus,
        "label_kind": label_kind,
        **_material(collected, labels),
        "parent": {"name": parent.name, "sha256": hashlib.sha256(model).hexdigest()},
        "features": graph.features_output,
        **_record(answer, parent),
    }
    layer = (weight.astype(np.float32), answer.bias.astype(np.float32))
    try:
        edited = with_linear_head(model, "logits", graph.features_output, *layer)
    except ValueError as error:
        raise InputError(f"{parent.graph} can't be adapted: {error}") from None
    bundle = _bundle(parent, answer, record)
    return type(recognizer)(
        bundle,
        recognizer._threads,
        recognizer._own_detector,
        Graph(bundle, recognizer._threads, edited),
    )


def _material(collected: _Collected, labels: tuple[str, ...]) -> dict[str, Any]:
    """Describe the clips; the hash changes with any of their names, speakers or labels."""
    counts = Counter(label for _, label, _ in collected.clips)
    return {
        "clips": len(collected.clips),
        "labels": {label: counts[label] for label in labels},
        "speakers": sorted({speaker for _, _, speaker in collected.clips if speaker is not None}),
        "data": fingerprint([(name, speaker, label) for name, label, speaker in collected.clips]),
        # no details: they name this machine's paths, and a bundle may be passed on
        "skipped": [{"id": s.id, "reason": s.reason} for s in collected.skipped],
    }


def _record(answer: AdaptedAnswer, parent: Bundle) -> dict[str, Any]:
    """Describe the fit, how good it is on clips left out of it, and what to know about it."""
    left_out = answer.left_out
    chosen = {"threshold": answer.threshold}
    if left_out is not None and answer.threshold is not None:
        chosen |= {"coverage": left_out.coverage, "answered_wa": left_out.accuracy}
    return {
        "penalty": answer.penalty,
        "left_out": None
        if left_out is None
        else {
            "by_speaker": left_out.by_speaker,
            "uar": left_out.uar,
            "uar_before": left_out.uar_before,
        },
        "notes": list(_notes(answer, parent)),
        "result": chosen,
    }


def _notes(answer: AdaptedAnswer, parent: Bundle) -> tuple[str, ...]:
    notes = []
    if answer.left_out is None:
        notes.append(
            "a label has a single clip, so none can be left out: how good the model is isn't known"
            f", and temperature and threshold are those of {parent.name}"
        )
    elif answer.threshold is None:
        notes.append(
            f"temperature and threshold of its own need {CLIPS_A_LABEL} clips a label: they are "
            f"those of {parent.name}"
        )
    if answer.left_out is not None and not answer.left_out.by_speaker:
        notes.append(
            "clips were left out, not speakers: on voices that it was not adapted to, it may be "
            "worse"
        )
    if parent.provenance.get("adapted"):
        notes.append(
            f"{parent.name} was adapted before: if some clips are the same, the scores are too good"
        )
    gone = [label for label in parent.labels if label not in answer.labels]
    if gone:
        notes.append(f"no clip has the label {', '.join(gone)}: the model never gives it")
    return tuple(notes)


def _bundle(parent: Bundle, answer: AdaptedAnswer, record: dict[str, Any]) -> Bundle:
    before = parent.provenance.get("adapted", [])
    name = parent.name if before else f"{parent.name}-adapted"
    threshold = parent.threshold if answer.threshold is None else answer.threshold
    provenance = {
        **parent.provenance,
        "label_kind": record["label_kind"],
        "adapted": [*before, record],
        "results": [],
        "weaknesses": [],
    }
    return replace(
        parent,
        folder=Path(f"{name} (not saved)"),
        name=name,
        labels=answer.labels,
        temperature=answer.temperature,
        threshold=threshold,
        mean_log_posterior=tuple(np.minimum(answer.mean_log_posterior, 0.0).tolist()),
        parameters=parent.parameters + answer.weight.size + answer.bias.size,
        provenance=provenance,
        parity={**parent.parity, "of": "the graph before it was adapted"},
    )

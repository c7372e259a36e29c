"""The answer: a probe on whole clips, calibrated, adjusted for class shares, fitted once more."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from liser.config import Distillation, Frontend, Heads, Loss, Training
from liser.corpora.base import Corpus
from liser.distillation.answer import FittedStudent, _fit_probe, fit_answer, with_temperature
from liser.distillation.data import Split, TrainingData, label_indices, split_rows
from liser.distillation.distill import train_student
from liser.distillation.readout import ClipFeatures
from liser.distillation.training_targets import distillation_targets
from liser.posteriors import log_posteriors, softmax
from liser.students.backbone import Backbone, transferred_weights
from liser.students.features import LogMelFeatures, extract_features
from liser.students.linear_probe import LinearProbe
from liser.students.registry import build_student
from liser.students.views import Views
from liser.targets.fusion import FeaturesByModality, features_by_modality
from liser.targets.targets import Targets

SETTINGS = Distillation(
    student="nano",
    frontend=Frontend(mels=16),
    heads=Heads(components=6),
    training=Training(
        updates=60,
        updates_a_round=20,
        batch_size=12,
        crop_s=0.3,
        learning_rate=1e-2,
        average=0.9,
        device="cpu",
        precision="float32",
    ),
)
GRID = np.geomspace(0.25, 4.0, 60)
"""The temperatures that calibration chooses from."""

MakeCorpus = Callable[..., Corpus]
MakeTargets = Callable[..., Targets]


@pytest.fixture(scope="module")
def tones(tone_corpus: MakeCorpus, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tone_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def features(tones: Corpus) -> LogMelFeatures:
    return extract_features(tones.utterances, SETTINGS.frontend)


@pytest.fixture
def data(tones: Corpus, features: LogMelFeatures) -> TrainingData:
    """Return all tones with their labels; nobody is held out."""
    labels = label_indices(tones)
    split = split_rows(tones, features.usable, 0, seed=0)
    return TrainingData(features, labels, tones.labels, split, np.full(len(labels), ""))


def held_out(data: TrainingData, corpus: Corpus, speakers: int = 2) -> TrainingData:
    return replace(data, split=split_rows(corpus, data.features.usable, speakers, seed=0))


def mislabelled(data: TrainingData) -> TrainingData:
    """Label a quarter of the validation clips wrongly, so that nobody should be too sure."""
    labels = data.labels.copy()
    wrong = data.split.valid[::4]
    labels[wrong] = (labels[wrong] + 1) % len(data.label_names)
    return replace(data, labels=labels)


def make(
    data: TrainingData,
    settings: Distillation = SETTINGS,
    teachers: FeaturesByModality | None = None,
    backbone: Backbone | None = None,
    **changes: Any,
) -> FittedStudent:
    settings = settings.model_copy(update=changes)
    targets = distillation_targets(data, teachers or {}, settings)
    trained = train_student(data, targets, settings, 0, backbone)
    return fit_answer(trained.module, data, targets, settings, 0, backbone)


def logits_of(made: FittedStudent, data: TrainingData, rows: NDArray[np.int64]) -> np.ndarray:
    return data.features.predict(made.student.module, rows)[0]


def mean_target(data: TrainingData, rows: NDArray[np.int64]) -> np.ndarray:
    """Return how frequent each class is among rows, after label smoothing."""
    return 0.9 * np.bincount(data.labels[rows], minlength=3) / len(rows) + 0.1 / 3


def is_inside(temperature: float) -> bool:
    """Tell whether a temperature is none of the grid's ends, where all of them would be alike."""
    return bool(GRID[0] < temperature < GRID[-1])


def test_the_probe_answers_and_the_rest_of_the_student_is_as_trained(
    nano: str, data: TrainingData
) -> None:
    plain, probed = (
        make(data, readout=penalty, logit_adjustment="none").student.module
        for penalty in (0.0, 0.1)
    )
    assert not plain.readout.weight.any()
    assert not any(p.any() for p in probed.head.parameters())
    ours, theirs = probed.state_dict(), plain.state_dict()
    answering = ("readout.", f"classify.{len(probed.classify) - 1}.")
    assert all(torch.equal(ours[n], theirs[n]) for n in ours if not n.startswith(answering))
    # at the optimum its mean posterior is the mean target
    logits, _ = data.features.predict(probed, data.split.train)
    expected = mean_target(data, data.split.train)
    np.testing.assert_allclose(softmax(logits).mean(0), expected, atol=1e-3)


def test_validation_speakers_calibrate_a_probe_that_never_saw_them_and_then_join_in(
    nano: str, tones: Corpus, data: TrainingData
) -> None:
    data = mislabelled(held_out(data, tones))
    made = make(data)
    alone = make(replace(data, split=Split(data.split.train, data.split.valid[:0])))
    assert not torch.allclose(
        made.student.module.readout.weight, made.validation_student.module.readout.weight
    )
    assert alone.student.module is alone.validation_student.module
    assert alone.student.temperature == 1.0, "nobody has calibrated it"
    ours, theirs = made.validation_student.module, alone.validation_student.module
    torch.testing.assert_close(ours.readout.weight, theirs.readout.weight)
    truth = np.eye(3)[data.labels[data.split.valid]]
    logits, _ = data.features.predict(made.validation_student.inference_module, data.split.valid)
    temperature = made.validation_student.calibrated(logits, truth).temperature
    assert is_inside(temperature)
    assert made.student.temperature == made.validation_student.temperature == temperature
    logits, _ = data.features.predict(made.student.inference_module, data.split.valid)
    assert made.student.calibrated(logits, truth).temperature != temperature


def test_too_few_validation_clips_leave_the_temperature_alone(
    nano: str, tones: Corpus, data: TrainingData
) -> None:
    data = mislabelled(held_out(data, tones))
    made = make(data)
    targets = distillation_targets(data, {}, SETTINGS)
    student = replace(made.validation_student, temperature=2.5)
    for count, expected in ((5, 2.5), (6, made.validation_student.temperature)):
        rows = data.split.valid[:count]
        found = with_temperature(student, data.features, targets, rows).temperature
        assert (found == 2.5) == (expected == 2.5)


def test_the_probe_is_fitted_to_the_views_that_it_answers_in(nano: str, data: TrainingData) -> None:
    """Its mean posterior over all views of all clips is then the mean target."""
    student = make(data, shifts=(-0.05, 0.05), logit_adjustment="none").student
    assert student.views == Views((1.0,), (-0.05, 0.05))
    rows = data.split.train
    logits = data.features.apply(
        lambda x: tuple(student.module(view)[0] for view in student.views.apply(x)), rows
    )
    assert len(logits) == len(student.views) == 3
    mean = softmax(np.concatenate(logits)).mean(0)
    np.testing.assert_allclose(mean, mean_target(data, rows), atol=1e-3)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_clip_counts_the_same_in_however_many_views_it_was_drawn(
    nano: str, data: TrainingData, seed: int
) -> None:
    """Where all views of a clip are alike, a probe on some of them is the probe on one."""
    rng = np.random.default_rng(seed)
    rows, truth = data.split.train, data.labels[data.split.train]
    x = (rng.normal(0, 1, (3, 5))[truth] + rng.normal(size=(len(rows), 5))).astype(np.float32)
    drawn = np.ones((4, len(rows)), bool)
    drawn[1:, rng.random(len(rows)) < 0.5] = False  # half of the clips in one view, half in four
    targets = distillation_targets(data, {}, SETTINGS)
    long, posteriors = np.full(len(rows), 100.0, np.float32), []
    for views in (drawn, drawn[:1]):
        module = build_student("nano", 3, 16)
        module.readout = LinearProbe(5, 3)
        clips = ClipFeatures(rows, *(tuple(v[own] for own in views) for v in (x, long)), views)
        # features are scaled by their deviation over views: without a penalty that changes nothing
        settings = SETTINGS.model_copy(update={"readout": 1e-6})
        _fit_probe(module.readout, clips, targets, rows, settings)
        logits = module.readout(*map(torch.from_numpy, (x, long)))
        posteriors.append(logits.softmax(-1).detach().numpy())
    np.testing.assert_allclose(*posteriors, atol=2e-3)


def test_backbone_interpolation_comes_before_the_probe(
    heir: str, tones: Corpus, data: TrainingData
) -> None:
    """Transferred layers lie between backbone and training, and the probe is fitted to those."""
    data = held_out(data, tones, 1)
    torch.manual_seed(3)
    weights = transferred_weights(build_student(heir, 3, 16))
    backbone = Backbone(weights, heir, SETTINGS.frontend, {})
    trained, between = (
        make(
            data,
            backbone=backbone,
            student=heir,
            backbone_interpolation=share,
            logit_adjustment="none",
        ).student.module
        for share in (0.0, 0.4)
    )
    ours, theirs = between.state_dict(), trained.state_dict()
    for name, own in backbone.state.items():
        torch.testing.assert_close(ours[name], 0.6 * theirs[name] + 0.4 * own)
        assert not torch.equal(ours[name], theirs[name]), name
    rows = data.split.both  # validation speakers, too: they have calibrated it
    logits, _ = data.features.predict(between, rows)
    np.testing.assert_allclose(softmax(logits).mean(0), mean_target(data, rows), atol=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_features_of_whole_clips_are_computed_once(
    heir: str, tones: Corpus, data: TrainingData, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """Temperature and mean log-posterior come from the probe's features, as if computed anew."""
    data = mislabelled(held_out(data, tones))
    training = SETTINGS.training.model_copy(update={"precision": precision})
    changes = {"student": heir, "tempi": (0.9, 1.0), "training": training}
    original = LogMelFeatures.predict

    def predict(clips: LogMelFeatures, *rest: Any) -> Any:
        assert clips is not data.features, "computed twice"
        return original(clips, *rest)

    with monkeypatch.context() as once:
        once.setattr(LogMelFeatures, "predict", predict)
        made = make(data, **changes)
    logs = log_posteriors(made.student.posteriors(data.features, data.split.train))
    near = 1e-4 if precision == "float32" else 0.05
    np.testing.assert_allclose(made.student.mean_log_posterior, logs.mean(0), rtol=near)
    logits, _ = data.features.predict(made.validation_student.inference_module, data.split.valid)
    truth = np.eye(3)[data.labels[data.split.valid]]
    anew = made.validation_student.calibrated(logits, truth).temperature
    assert is_inside(anew)
    assert made.student.temperature == pytest.approx(anew, rel=near)
    half = data.labels.copy()
    half[data.split.train[::2]] = -1  # these have no target, so the probe doesn't need them
    student = make(replace(data, labels=half), **changes).student
    logs = log_posteriors(student.posteriors(data.features, data.split.train))
    np.testing.assert_allclose(student.mean_log_posterior, logs.mean(0), rtol=1e-4)


def test_labels_of_validation_speakers_alone_reach_the_final_probe_alone(
    nano: str, tones: Corpus, data: TrainingData, tone_targets: MakeTargets
) -> None:
    """Teachers without a posterior term leave the classes to those labels."""
    data = mislabelled(held_out(data, tones))
    data.labels[data.split.train] = -1
    speakers = [u.speaker_id for u in tones.utterances]
    targets = [tone_targets(tones, modality) for modality in ("speech", "face")]
    mask = data.split.mask(len(data.labels))
    teachers = features_by_modality(targets, speakers, mask, SETTINGS.heads)
    made = make(data, teachers=teachers, loss=Loss(posterior=0.0))
    assert not made.validation_student.module.readout.weight.any()
    assert made.student.module.readout.weight.any()
    logits, _ = data.features.predict(made.validation_student.inference_module, data.split.valid)
    truth = np.eye(3)[data.labels[data.split.valid]]
    anew = made.validation_student.calibrated(logits, truth)
    assert is_inside(anew.temperature)
    assert made.validation_student.temperature == anew.temperature


def test_bfloat16_features_are_near_float32(heir: str, features: LogMelFeatures) -> None:
    rows, views = np.flatnonzero(features.usable), Views((1.0, 1.1), (0.05,))
    module = build_student(heir, 3, 16)
    exact, rough = (
        ClipFeatures.extract(module, features, rows, views, precision).features
        for precision in ("float32", "bfloat16")
    )
    assert len(exact) == len(rough) == 3
    for one, other in zip(exact, rough, strict=True):
        assert not np.array_equal(one, other)
        spread = one.std(0) + 0.1 * one.std()
        assert np.sqrt(np.mean(((one - other) / spread) ** 2)) < 0.1


def test_features_in_drawn_views_are_part_of_those_in_all_views(
    heir: str, features: LogMelFeatures
) -> None:
    rows, views = np.flatnonzero(features.usable), Views((1.0, 1.1), (0.05,))
    module = build_student(heir, 3, 16)
    module.readout.weight.data.normal_()
    drawn = views.draw(len(rows), 2, np.random.default_rng(0))
    drawn[:, 5] = True
    every = ClipFeatures.extract(module, features, rows, views, "float32")
    some = ClipFeatures.extract(module, features, rows, views, "float32", drawn)
    assert drawn.sum(0).tolist() == [2] * 5 + [3] + [2] * (len(rows) - 6)
    for own, full, part in zip(drawn, every.features, some.features, strict=True):
        np.testing.assert_allclose(part, full[own], atol=1e-5)
    few = rows[3:9]
    x, places = some.of(few)
    assert np.bincount(places).tolist() == [2, 2, 3, 2, 2, 2]
    logs = module.readout(x, some.frames_of(few)).log_softmax(-1).detach().numpy()
    means = [logs[places == place].mean(0) for place in range(len(few))]
    np.testing.assert_allclose(some.log_posteriors(module.readout, few), means, atol=1e-5)


def test_a_view_may_be_drawn_for_one_clip_or_none(heir: str, features: LogMelFeatures) -> None:
    rows, views = np.flatnonzero(features.usable)[:4], Views((1.0, 1.1), (0.05,))
    module = build_student(heir, 3, 16)
    every = ClipFeatures.extract(module, features, rows, views, "float32")
    drawn = np.array([[True] * 4, [False] * 4, [False, True, False, False]])
    some = ClipFeatures.extract(module, features, rows, views, "float32", drawn)
    assert [len(part) for part in some.features] == [4, 0, 1]
    for own, full, part in zip(drawn, every.features, some.features, strict=True):
        np.testing.assert_allclose(part, full[own], atol=1e-5)


def test_a_probe_of_drawn_views_is_another_and_calibrated_in_all_views(
    heir: str, tones: Corpus, data: TrainingData
) -> None:
    data = mislabelled(held_out(data, tones))
    logits = []
    for many in (None, 3, 2):
        made = make(data, student=heir, shifts=(-0.05, 0.05), readout_views=many)
        found, _ = data.features.predict(made.validation_student.inference_module, data.split.valid)
        truth = np.eye(3)[data.labels[data.split.valid]]
        anew = made.validation_student.calibrated(found, truth).temperature
        assert is_inside(anew)
        assert made.validation_student.temperature == pytest.approx(anew, rel=1e-3)
        logits.append(found)
    np.testing.assert_array_equal(logits[0], logits[1])
    assert not np.allclose(logits[0], logits[2], atol=1e-3)


def test_an_adjusted_student_answers_as_if_all_emotions_were_equally_frequent(
    nano: str, data: TrainingData
) -> None:
    labels = data.labels
    labels[np.flatnonzero(labels == 0)[3:]] = -1  # only a few of the first emotion are labelled
    rows = data.split.train[:5]
    plain, adjusted = (
        logits_of(make(data, logit_adjustment=how), data, rows) for how in ("none", "after")
    )
    prior = np.bincount(labels[labels >= 0]) / (labels >= 0).sum()
    smoothed = 0.9 * prior + 0.1 / len(prior)
    expected = np.tile(np.log(smoothed * len(prior)), (5, 1))
    np.testing.assert_allclose(plain - adjusted, expected, atol=1e-4)


def test_joined_corpora_are_adjusted_each_by_itself(
    nano: str, tones: Corpus, data: TrainingData
) -> None:
    """An emotion that one corpus alone has isn't rare there, so its logit stays."""
    labels = data.labels
    sources = np.where(np.arange(len(labels)) < len(labels) // 4, "few", "many")
    only = (sources == "many") & (labels == 0)
    split = split_rows(tones, data.features.usable & ~only, 0, seed=0)
    data = replace(data, split=split, sources=sources)
    rows = split.train[:5]
    plain, adjusted = (
        logits_of(make(data, logit_adjustment=how), data, rows) for how in ("none", "after")
    )
    shifts, known = np.zeros(3), np.zeros(3)
    for source in ("few", "many"):
        own = labels[split.train][sources[split.train] == source]
        prior = np.bincount(own, minlength=3) / len(own)
        present = prior > 0
        shifts += np.where(present, np.log((0.9 * prior + 0.1 / 3) * present.sum()), 0.0)
        known += present
    assert known.tolist() == [1, 2, 2]
    expected = np.tile(shifts / known, (5, 1))
    np.testing.assert_allclose(plain - adjusted, expected, atol=1e-4)
    assert abs(expected[0, 0]) < 0.2


def test_a_source_that_teaches_nothing_calibrates_nothing(nano: str, data: TrainingData) -> None:
    """Without teachers, the clips of an unlabelled corpus can't stand in for another one's."""
    unlabelled = np.arange(len(data.labels)) < 12
    labels = np.where(unlabelled, -1, data.labels)
    data = replace(data, labels=labels, sources=np.where(unlabelled, "talks", "labelled"))
    assert len(make(data).held_out.rows) == 0


def test_clips_of_a_small_source_weigh_more_in_the_probe(nano: str, data: TrainingData) -> None:
    """Where sources differ in labels, the mean posterior is that of evened sources."""
    sources = np.where(np.arange(len(data.labels)) < 12, "few", "many")
    labels = data.labels.copy()
    labels[:12] = 0
    data = replace(data, labels=labels, sources=sources)
    made = make(data, logit_adjustment="none")
    evened = np.concatenate([np.tile(np.arange(12), 3), np.arange(12, len(labels))])
    mean = softmax(logits_of(made, data, evened)).mean(0)
    np.testing.assert_allclose(mean, mean_target(data, evened), atol=1e-3)


def test_novelty_is_fitted_to_the_training_clips_and_in_the_end_to_validation_clips_too(
    nano: str, tones: Corpus, data: TrainingData
) -> None:
    data = held_out(data, tones)
    plain, careful = (make(data, novelty=slope) for slope in (0.0, 6.0))
    assert plain.student.module.readout.novelty is None
    ours, valid = (
        one.module.readout.novelty for one in (careful.student, careful.validation_student)
    )
    assert ours is not None and valid is not None
    assert not torch.equal(ours.centre, valid.centre)
    same = careful.held_out.logits.argmax(1) == plain.held_out.logits.argmax(1)
    assert same.all()
    near = softmax(careful.held_out.logits).max(1) <= softmax(plain.held_out.logits).max(1) + 1e-6
    assert near.all() and not np.allclose(careful.held_out.logits, plain.held_out.logits)

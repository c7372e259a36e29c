"""Distilling and fine-tuning: from clips, targets and few labels to a student on disk."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from liser.config import Distillation, Frontend, Heads, Loss, Training
from liser.corpora.base import Corpus, Utterance
from liser.corpora.splits import held_out_notes
from liser.distillation.data import label_indices, split_rows
from liser.distillation.distill import distill, finetune
from liser.errors import InputError, StorageError
from liser.metrics import abstention_threshold, answered
from liser.posteriors import log_posteriors
from liser.students.features import extract_features
from liser.students.student import Student, load_student
from liser.targets.targets import Targets

TRAINING = Training(
    updates=60,
    updates_a_round=20,
    batch_size=12,
    crop_s=0.3,
    learning_rate=1e-2,
    average=0.9,
    device="cpu",
    precision="float32",
)
SETTINGS = Distillation(
    student="nano", frontend=Frontend(mels=16), heads=Heads(components=6), training=TRAINING
)
MakeCorpus = Callable[..., Corpus]
MakeTargets = Callable[..., Targets]


@pytest.fixture(scope="module")
def tones(tone_corpus: MakeCorpus, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tone_corpus(tmp_path_factory.mktemp("tones"))


def few(corpus: Corpus, takes: int = 1) -> Corpus:
    """Keep the labels of the first takes, and hide the rest."""
    hidden = [
        u if int(u.id.split("-")[2]) < takes else replace(u, label=None) for u in corpus.utterances
    ]
    return replace(corpus, utterances=tuple(hidden))


def accuracy(student: Student, corpus: Corpus) -> float:
    clips = extract_features(corpus.utterances, student.frontend)
    predictions = student.posteriors(clips, np.arange(len(corpus.utterances))).argmax(1)
    names = [student.labels[i] for i in predictions]
    return float(np.mean([a == u.label for a, u in zip(names, corpus.utterances, strict=True)]))


def same(a: Student, b: Student) -> bool:
    ours, theirs = a.module.state_dict(), b.module.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def both(corpus: Corpus, tone_targets: MakeTargets) -> list[Targets]:
    return [tone_targets(corpus, "speech"), tone_targets(corpus, "face", missing=5)]


def test_few_labels_and_two_teachers_make_a_student(
    nano: str, tones: Corpus, tone_corpus: MakeCorpus, tone_targets: MakeTargets, tmp_path: Path
) -> None:
    corpus = few(tones)
    student = distill(corpus, both(corpus, tone_targets), tmp_path / "student", SETTINGS)
    others = tone_corpus(tmp_path / "others", speakers=2, seed=5)
    assert accuracy(student, others) > 0.9
    back = load_student(tmp_path / "student")
    assert same(student, back)
    assert back.mean_log_posterior == student.mean_log_posterior
    assert student.provenance == back.provenance
    assert {f.name for f in (tmp_path / "student").iterdir()} == {
        "begun.json",
        "student.json",
        "student.safetensors",
    }
    record = student.provenance
    assert (record["corpus"], record["labelled"], record["clips"]) == ("tones", 12, 48)
    assert [t["name"] for t in record["teachers"]] == ["made-speech", "made-face"]
    assert Distillation.read(record["settings"]) == SETTINGS
    assert len(record["result"]["valid_speakers"]) == 2
    assert record["result"]["valid_uar"] > 0.9


def test_its_mean_log_posterior_is_that_of_its_training_speakers(
    nano: str, tones: Corpus, tmp_path: Path
) -> None:
    quick = SETTINGS.model_copy(update={"training": TRAINING.model_copy(update={"updates": 4})})
    student = distill(tones, [], tmp_path, quick, seed=1)
    clips = extract_features(tones.utterances, student.frontend)
    split = split_rows(tones, clips.usable, 2, 1)
    mean = np.log(student.posteriors(clips, split.train)).mean(0)
    np.testing.assert_allclose(student.mean_log_posterior, mean, rtol=1e-6)


def test_without_targets_it_is_supervised_training(
    nano: str, tones: Corpus, tmp_path: Path
) -> None:
    student = distill(tones, [], tmp_path, SETTINGS)
    assert accuracy(student, tones) > 0.9
    assert student.provenance["teachers"] == []


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_and_a_finished_one_is_read(
    nano: str, tones: Corpus, tone_targets: MakeTargets, tmp_path: Path
) -> None:
    corpus = few(tones)
    targets = both(corpus, tone_targets)
    rounds: list[int] = []

    def kill(done: int, total: int, score: float) -> None:
        rounds.append(done)
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        distill(corpus, targets, tmp_path / "a", SETTINGS, progress=kill)
    resumed = distill(
        corpus, targets, tmp_path / "a", SETTINGS, progress=lambda done, *_: rounds.append(done)
    )
    assert rounds == [1, 2, 3]
    assert same(resumed, distill(corpus, targets, tmp_path / "b", SETTINGS))

    def never(*_: object) -> None:
        raise AssertionError("trained again")

    again = distill(corpus, targets, tmp_path / "a", SETTINGS, progress=never)
    assert same(resumed, again)


def test_a_folder_begun_with_anything_else_is_refused(
    nano: str, tones: Corpus, tone_targets: MakeTargets, tmp_path: Path
) -> None:
    corpus = few(tones)
    targets = both(corpus, tone_targets)
    quick = SETTINGS.model_copy(update={"training": TRAINING.model_copy(update={"updates": 4})})
    distill(corpus, targets, tmp_path, quick)
    other = quick.model_copy(update={"loss": Loss(face_alignment=0)})
    for call in (
        lambda: distill(corpus, targets, tmp_path, other),
        lambda: distill(corpus, targets, tmp_path, quick, seed=1),
        lambda: distill(corpus, targets, tmp_path, quick, valid_speakers=1),
        lambda: distill(corpus, targets[:1], tmp_path, quick),
        lambda: distill(few(tones, 2), targets, tmp_path, quick),
        lambda: finetune(load_student(tmp_path), tones, tmp_path),
    ):
        with pytest.raises(InputError, match="made from other data or settings"):
            call()
    (tmp_path / "begun.json").write_text("{")
    with pytest.raises(StorageError, match=r"begun\.json is damaged"):
        distill(corpus, targets, tmp_path, quick)


def test_targets_of_another_corpus_are_refused(
    nano: str, tones: Corpus, tone_targets: MakeTargets, tmp_path: Path
) -> None:
    targets = tone_targets(tones, "speech")
    moved = replace(tones, utterances=tones.utterances[::-1])
    with pytest.raises(InputError, match="'made-speech' are not of corpus 'tones'"):
        distill(moved, [targets], tmp_path, SETTINGS)


def test_two_teachers_of_one_modality_are_refused_and_not_dropped(
    nano: str, tones: Corpus, tone_targets: MakeTargets, tmp_path: Path
) -> None:
    pair = [tone_targets(tones, "speech"), replace(tone_targets(tones, "speech"), teacher="b")]
    with pytest.raises(InputError, match=r"made-speech.*b"):
        distill(tones, pair, tmp_path, SETTINGS)


def test_what_no_bundle_can_call_an_emotion_is_refused_before_training(
    nano: str, tones: Corpus, tmp_path: Path
) -> None:
    clips = [
        replace(u, label="uncertain" if u.label == "low" else u.label) for u in tones.utterances
    ]
    corpus = replace(
        tones, labels=tuple(sorted({str(u.label) for u in clips})), utterances=tuple(clips)
    )
    with pytest.raises(InputError, match="'uncertain', the answer below"):
        distill(corpus, (), tmp_path, SETTINGS)


@pytest.mark.parametrize("labels", [set(), {"low"}])
def test_less_than_two_classes_is_an_error(
    nano: str, tones: Corpus, tmp_path: Path, labels: set[str]
) -> None:
    hidden = [u if u.label in labels else replace(u, label=None) for u in tones.utterances]
    corpus = replace(tones, utterances=tuple(hidden))
    with pytest.raises(InputError, match="at least two are needed"):
        distill(corpus, [], tmp_path / "new", SETTINGS)
    assert not (tmp_path / "new").exists()


def test_clips_that_cannot_be_read_are_named(nano: str, tones: Corpus, tmp_path: Path) -> None:
    gone = Utterance("gone", "s0", "low", tmp_path / "gone.wav")
    quick = SETTINGS.model_copy(update={"training": TRAINING.model_copy(update={"updates": 4})})
    corpus = replace(tones, utterances=(*tones.utterances, gone))
    student = distill(corpus, [], tmp_path / "student", quick)
    assert student.provenance["result"]["skipped"] == [{"id": "gone", "reason": "missing file"}]


def test_clips_that_cannot_be_read_teach_nothing_through_their_teachers_either(
    nano: str, tones: Corpus, tone_targets: MakeTargets, tmp_path: Path
) -> None:
    """Neither projections nor heads see them: they may be anybody's, a test speaker's too."""
    gone = [
        Utterance(f"x-{label}-{take}", "x", label, tmp_path / "gone.wav")
        for take in range(4)
        for label in tones.labels
    ]
    corpus = replace(few(tones), utterances=(*few(tones).utterances, *gone))
    honest = both(corpus, tone_targets)
    rows = np.array([u.speaker_id == "x" for u in corpus.utterances])
    garbled = []
    for targets in honest:
        embeddings = targets.embeddings.copy()
        embeddings[rows] = np.random.default_rng(0).normal(0, 9, embeddings[rows].shape)
        garbled.append(replace(targets, embeddings=embeddings))
    three = SETTINGS.model_copy(update={"heads": Heads(components=3)})
    ours = distill(corpus, honest, tmp_path / "a", three)
    theirs = distill(corpus, garbled, tmp_path / "b", three)
    assert len(ours.provenance["result"]["skipped"]) == 12
    assert same(ours, theirs)


def test_the_threshold_is_that_of_all_labelled_validation_clips(
    nano: str, tones: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liser.distillation.calibration.CLIPS_A_CLASS", 4)
    wrong = [
        replace(u, label="low" if u.label == "mid" and i % 2 else u.label)
        for i, u in enumerate(tones.utterances)
    ]
    hidden = [replace(u, label=None) if i % 7 == 0 else u for i, u in enumerate(wrong)]
    corpus = replace(tones, utterances=tuple(hidden))
    supervised = SETTINGS.model_copy(update={"readout": 0.0})  # one student answers and is scored
    student = distill(corpus, (), tmp_path / "a", supervised)
    made = student.provenance["result"]
    labels, clips = label_indices(corpus), extract_features(corpus.utterances, student.frontend)
    held = [u.speaker_id in made["valid_speakers"] for u in corpus.utterances]
    rows = np.flatnonzero(held & (labels >= 0))
    assert set(labels[rows]) == {0, 1, 2} and len(rows) < sum(held)
    posteriors = student.posteriors(clips, rows)
    threshold = abstention_threshold(posteriors, labels[rows])
    kept = answered(posteriors, labels[rows], threshold)
    assert made["threshold"] == pytest.approx(threshold)
    assert made["coverage"] == pytest.approx(kept.coverage)
    assert made["answered_wa"] == pytest.approx(kept.accuracy)
    monkeypatch.setattr("liser.distillation.calibration.CLIPS_A_CLASS", len(rows))
    few_clips = distill(corpus, (), tmp_path / "b", supervised).provenance["result"]
    assert few_clips["threshold"] is None and "coverage" not in few_clips


def test_validation_speakers_are_held_out_whole(tones: Corpus) -> None:
    usable = np.ones(48, np.bool_)
    usable[3] = False
    split = split_rows(tones, usable, 2, seed=0)
    speakers = [
        {tones.utterances[i].speaker_id for i in part} for part in (split.train, split.valid)
    ]
    assert len(speakers[0]) == len(speakers[1]) == 2
    assert not speakers[0] & speakers[1]
    assert sorted([*split.train, *split.valid]) == [i for i in range(48) if i != 3]
    assert split.mask(48).tolist() == usable.tolist()
    assert len(split_rows(tones, usable, 3, seed=0).valid) == 0, "one speaker left to train on"
    assert held_out_notes(tones, 2) == held_out_notes(tones, 0) == ()
    (note,) = held_out_notes(tones, 3)
    assert note.startswith(
        "no speaker of tones is held out: without 3 of its 4 speakers, fewer than two"
    )
    with pytest.raises(InputError, match="-1 speakers can't be held out"):
        split_rows(tones, usable, -1, seed=0)


def test_labels_are_numbered_in_the_order_that_is_asked_for(tones: Corpus) -> None:
    corpus = few(tones)
    ours, theirs = label_indices(corpus), label_indices(corpus, ("high", "other", "mid", "low"))
    assert ours[:4].tolist() == [0, 1, 2, -1]
    assert theirs[:4].tolist() == [3, 2, 0, -1]


@pytest.fixture
def student(nano: str, tones: Corpus, tmp_path: Path) -> Student:
    return distill(tones, [], tmp_path / "before", SETTINGS)


def test_fine_tuning_adapts_to_new_speakers_whatever_the_order_of_their_labels(
    student: Student, tone_corpus: MakeCorpus, tmp_path: Path
) -> None:
    shifted = tone_corpus(tmp_path / "new", speakers=1, takes=6, shift=2.2, seed=3)
    voices = replace(shifted, labels=("high", "low", "mid"))
    before, weights = accuracy(student, voices), student.module.state_dict()
    untouched = {name: value.clone() for name, value in weights.items()}
    stronger = TRAINING.model_copy(update={"learning_rate": 5e-3})
    tuned = finetune(student, voices, tmp_path / "tuned", stronger)
    assert before < 0.8
    assert accuracy(tuned, voices) > 0.95
    assert tuned.labels == student.labels == ("low", "mid", "high")
    assert all(torch.equal(untouched[n], v) for n, v in student.module.state_dict().items())
    assert same(tuned, load_student(tmp_path / "tuned"))
    assert tuned.provenance["finetuned"][0]["speakers"] == ["s0"]
    assert tuned.provenance["result"] == student.provenance["result"]


def test_fine_tuning_calibrates_on_the_speakers_that_it_holds_out(
    student: Student, tones: Corpus, tmp_path: Path
) -> None:
    """A quarter of the labels are wrong, so that the best temperature lies within the grid."""
    labels = {"low": "mid", "mid": "high", "high": "low"}
    clips = [
        replace(u, label=None if i % 8 == 1 else labels[str(u.label)] if i % 4 == 0 else u.label)
        for i, u in enumerate(tones.utterances)
    ]
    corpus = replace(tones, utterances=tuple(clips))
    tuned = finetune(student, corpus, tmp_path / "tuned", TRAINING, valid_speakers=2)
    held = tuned.provenance["finetuned"][0]["result"]["valid_speakers"]
    is_held = np.array([u.speaker_id in held for u in corpus.utterances])
    truth, features = label_indices(corpus), extract_features(corpus.utterances, tuned.frontend)
    valid = np.flatnonzero(is_held & (truth >= 0))
    logits, _ = features.predict(tuned.inference_module, valid)
    expected = tuned.calibrated(logits, np.eye(3)[truth[valid]]).temperature
    assert 0.26 < expected < 3.9 and expected != student.temperature
    assert tuned.temperature == expected
    learnt = np.flatnonzero(~is_held & (truth >= 0))  # unlabelled clips are left out
    mean = log_posteriors(tuned.posteriors(features, learnt)).mean(0)
    np.testing.assert_allclose(tuned.mean_log_posterior, mean, rtol=1e-4)
    alone = finetune(student, corpus, tmp_path / "alone", TRAINING)
    assert alone.temperature == student.temperature


def test_fine_tuning_resumes(student: Student, tones: Corpus, tmp_path: Path) -> None:
    def kill(done: int, total: int, score: float) -> None:
        raise Killed

    with pytest.raises(Killed):
        finetune(student, tones, tmp_path / "a", TRAINING, progress=kill)
    assert (tmp_path / "a" / "checkpoint.pt").exists()
    resumed = finetune(student, tones, tmp_path / "a", TRAINING)
    assert same(resumed, finetune(student, tones, tmp_path / "b", TRAINING))


def test_labels_that_the_student_does_not_know_are_named(
    student: Student, tones: Corpus, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="it can't learn bored"):
        finetune(student, replace(tones, labels=(*tones.labels, "bored")), tmp_path / "tuned")


def test_its_provenance_is_plain_json(student: Student, tmp_path: Path) -> None:
    record = json.loads((tmp_path / "before" / "student.json").read_text("utf-8"))
    assert record["labels"] == ["low", "mid", "high"]
    assert record["provenance"] == student.provenance


def test_several_teachers_of_one_modality_make_a_student_but_none_counts_twice(
    nano: str, tones: Corpus, tone_targets: MakeTargets, tmp_path: Path
) -> None:
    corpus = few(tones)
    speech, face = both(corpus, tone_targets)
    other = replace(face, teacher="votes", fingerprint="votes", embeddings=face.embeddings[:, :3])
    student = distill(corpus, [speech, face, other], tmp_path / "made", SETTINGS)
    assert [t["name"] for t in student.provenance["teachers"]] == [
        "made-speech",
        "made-face",
        "votes",
    ]
    assert accuracy(student, tones) > 0.9
    with pytest.raises(InputError, match="given twice: made-face"):
        distill(corpus, [face, face], tmp_path / "twice", SETTINGS)


def test_interpolation_without_a_backbone_is_an_error(tones: Corpus, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a backbone, and there is none"):
        distill(tones, [], tmp_path, SETTINGS.model_copy(update={"backbone_interpolation": 0.4}))
    with pytest.raises(InputError, match="readout"):
        Distillation.read({"backbone_interpolation": 0.4, "readout": 0.0})

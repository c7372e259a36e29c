"""Distilling and fine-tuning: from clips, targets and few labels to a student on disk."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from liser.config import Distillation, Frontend, Heads, Loss, Training
from liser.corpora.base import Corpus, Utterance
from liser.corpora.splits import held_out_notes
from liser.distillation.distill import (
    FittedStudent,
    Split,
    distill,
    finetune,
    label_indices,
    learn,
    split_rows,
)
from liser.distillation.readout import ClipFeatures
from liser.distillation.train import TrainingTargets
from liser.errors import InputError, StorageError
from liser.posteriors import log_posteriors, softmax
from liser.students.backbone import Backbone, transferred_weights
from liser.students.features import LogMelFeatures, extract_features
from liser.students.registry import build_student
from liser.students.student import Student, load_student
from liser.students.views import Views
from liser.targets.fusion import features_by_modality
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
    said = student.posteriors(clips, np.arange(len(corpus.utterances))).argmax(1)
    names = [student.labels[i] for i in said]
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
    strangers = tone_corpus(tmp_path / "others", speakers=2, seed=5)
    assert accuracy(student, strangers) > 0.9
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


def test_it_knows_what_it_says_of_its_training_speakers_on_average(
    nano: str, tones: Corpus, tmp_path: Path
) -> None:
    quick = SETTINGS.model_copy(update={"training": TRAINING.model_copy(update={"updates": 4})})
    student = distill(tones, [], tmp_path, quick, seed=1)
    clips = extract_features(tones.utterances, student.frontend)
    split = split_rows(tones, clips.usable, 2, 1)
    said = np.log(student.posteriors(clips, split.train)).mean(0)
    np.testing.assert_allclose(student.mean_log_posterior, said, rtol=1e-6)


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


@pytest.mark.parametrize("labels", [set(), {"low"}])
def test_less_than_two_classes_is_an_error(
    nano: str, tones: Corpus, tmp_path: Path, labels: set[str]
) -> None:
    hidden = [u if u.label in labels else replace(u, label=None) for u in tones.utterances]
    corpus = replace(tones, utterances=tuple(hidden))
    with pytest.raises(InputError, match="at least two are needed"):
        distill(corpus, [], tmp_path / "new", SETTINGS)
    assert not (tmp_path / "new").exists()


def test_clips_that_cannot_be_heard_are_named(nano: str, tones: Corpus, tmp_path: Path) -> None:
    gone = Utterance("gone", "s0", "low", tmp_path / "gone.wav")
    quick = SETTINGS.model_copy(update={"training": TRAINING.model_copy(update={"updates": 4})})
    corpus = replace(tones, utterances=(*tones.utterances, gone))
    student = distill(corpus, [], tmp_path / "student", quick)
    assert student.provenance["result"]["skipped"] == [{"id": "gone", "reason": "missing file"}]


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
        "nobody of tones is held out: without 3 of its 4 speakers fewer than two"
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


def test_fine_tuning_adapts_to_new_voices_whatever_the_order_of_their_labels(
    student: Student, tone_corpus: MakeCorpus, tmp_path: Path
) -> None:
    shifted = tone_corpus(tmp_path / "new", speakers=1, takes=6, shift=2.2, seed=3)
    voices = replace(shifted, labels=("high", "low", "mid"))
    before, weights = accuracy(student, voices), student.module.state_dict()
    kept = {name: value.clone() for name, value in weights.items()}
    stronger = TRAINING.model_copy(update={"learning_rate": 5e-3})
    tuned = finetune(student, voices, tmp_path / "tuned", stronger)
    assert before < 0.8
    assert accuracy(tuned, voices) > 0.95
    assert tuned.labels == student.labels == ("low", "mid", "high")
    assert all(torch.equal(kept[n], v) for n, v in student.module.state_dict().items())
    assert same(tuned, load_student(tmp_path / "tuned"))
    assert tuned.provenance["finetuned"][0]["speakers"] == ["s0"]
    assert tuned.provenance["result"] == student.provenance["result"]


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


def test_what_a_student_is_made_from_is_plain_json(student: Student, tmp_path: Path) -> None:
    record = json.loads((tmp_path / "before" / "student.json").read_text("utf-8"))
    assert record["labels"] == ["low", "mid", "high"]
    assert record["provenance"] == student.provenance


def test_a_modalitys_teachers_share_its_weight(
    nano: str, tones: Corpus, tone_targets: MakeTargets, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = few(tones)
    first = tone_targets(corpus, "face")
    second = replace(first, teacher="other", fingerprint="other", embeddings=-first.embeddings)
    targets = [tone_targets(corpus, "speech"), first, second]
    clips = extract_features(corpus.utterances, SETTINGS.frontend)
    split = split_rows(corpus, clips.usable, 1, 0)
    mask = split.mask(len(corpus.utterances))
    seen = features_by_modality(
        targets, [u.speaker_id for u in corpus.utterances], mask, SETTINGS.heads
    )
    assert [(m, len(v)) for m, v in seen.items()] == [("speech", 1), ("face", 2)]
    given: list[TrainingTargets] = []

    class Enough(Exception):
        pass

    def train(_: object, __: object, lessons: TrainingTargets, *___: object) -> None:
        given.append(lessons)
        raise Enough

    monkeypatch.setattr("liser.distillation.distill.train", train)
    loss = Loss(speech_alignment=0.5, face_alignment=3.0)
    settings = SETTINGS.model_copy(update={"loss": loss})
    with pytest.raises(Enough):
        learn(clips, seen, label_indices(corpus), corpus.labels, split, settings, 0)
    (lessons,) = given
    assert [weight for *_, weight in lessons.embeddings.values()] == [0.5, 1.5, 1.5]
    aligned = [representation.numpy() for representation, *_ in lessons.embeddings.values()]
    np.testing.assert_allclose(aligned[2], seen["face"][1].features, atol=1e-6)


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


def test_a_readout_of_whole_clips_answers_and_the_rest_of_the_student_is_as_trained(
    nano: str, tones: Corpus
) -> None:
    labels = label_indices(tones)
    clips = extract_features(tones.utterances, SETTINGS.frontend)
    split = split_rows(tones, clips.usable, 0, seed=0)
    plain, read = (
        learn(
            clips,
            {},
            labels,
            tones.labels,
            split,
            SETTINGS.model_copy(update={"readout": readout, "balanced": False}),
            seed=0,
        ).student.module
        for readout in (0.0, 0.1)
    )
    assert not plain.readout.weight.any()  # type: ignore[union-attr]
    assert not any(p.any() for p in read.classify[-1].parameters())  # type: ignore[index, union-attr]
    ours, theirs = read.state_dict(), plain.state_dict()
    inference_module = ("readout.", f"classify.{len(read.classify) - 1}.")  # type: ignore[arg-type]
    assert all(torch.equal(ours[n], theirs[n]) for n in ours if not n.startswith(inference_module))
    # at the optimum it says on average what it was taught on average
    logits, _ = clips.predict(read, split.train)
    shares = np.bincount(labels[split.train]) / len(split.train)
    np.testing.assert_allclose(softmax(logits).mean(0), 0.9 * shares + 0.1 / 3, atol=1e-3)


def test_validation_speakers_tell_how_sure_it_may_be_and_are_then_read_too(
    nano: str, tones: Corpus
) -> None:
    labels, clips = label_indices(tones), extract_features(tones.utterances, SETTINGS.frontend)
    split = split_rows(tones, clips.usable, 2, seed=0)
    learnt, unheld = (
        learn(clips, {}, labels, tones.labels, rows, SETTINGS, seed=0)
        for rows in (split, Split(split.train, split.valid[:0]))
    )
    ours, theirs = (x.module.readout.weight for x in (learnt.student, learnt.checked))  # type: ignore[union-attr]
    assert not torch.allclose(ours, theirs)
    assert unheld.student.module is unheld.checked.module
    logits, _ = clips.predict(learnt.checked.inference_module, split.valid)
    truth = np.eye(3)[labels[split.valid]]
    expected = learnt.checked.calibrated(logits, truth).temperature
    assert learnt.student.temperature == learnt.checked.temperature == expected


def test_a_readout_is_taught_the_variants_that_it_is_asked(nano: str, tones: Corpus) -> None:
    """What it says on average of all variants of a clip is then what it was taught."""
    labels, clips = label_indices(tones), extract_features(tones.utterances, SETTINGS.frontend)
    split = split_rows(tones, clips.usable, 0, seed=0)
    shifts = {"shifts": (-0.05, 0.05), "balanced": False}
    student = learn(
        clips, {}, labels, tones.labels, split, SETTINGS.model_copy(update=shifts), seed=0
    ).student
    assert student.views == Views((1.0,), (-0.05, 0.05))
    ways = len(student.views)
    said = clips.apply(
        lambda x: tuple(student.module(one)[0] for one in student.views.of(x)), split.train
    )
    assert len(said) == ways == 3
    shares = np.bincount(labels[split.train]) / len(split.train)
    np.testing.assert_allclose(
        softmax(np.concatenate(said)).mean(0), 0.9 * shares + 0.1 / 3, atol=1e-3
    )


def test_it_answers_by_what_it_recalls_of_its_backbone(heir: str, tones: Corpus) -> None:
    """Its inherited layers lie between backbone and training, and the readout is fitted to those."""
    labels, clips = label_indices(tones), extract_features(tones.utterances, SETTINGS.frontend)
    split = split_rows(tones, clips.usable, 1, seed=0)
    torch.manual_seed(3)
    backbone = Backbone(
        transferred_weights(build_student(heir, 3, 16)), heir, SETTINGS.frontend, {}
    )
    forgetful, recalling = (
        learn(
            clips,
            {},
            labels,
            tones.labels,
            split,
            SETTINGS.model_copy(
                update={"student": heir, "backbone_interpolation": recall, "balanced": False}
            ),
            seed=0,
            backbone=backbone,
        ).student.module
        for recall in (0.0, 0.4)
    )
    ours, theirs = recalling.state_dict(), forgetful.state_dict()
    for name, own in backbone.state.items():
        torch.testing.assert_close(ours[name], 0.6 * theirs[name] + 0.4 * own)
        assert not torch.equal(ours[name], theirs[name]), name
    everyone = np.flatnonzero(split.mask(len(labels)))  # who was held out has told, and is read
    logits, _ = clips.predict(recalling, everyone)
    shares = np.bincount(labels[everyone]) / len(everyone)
    np.testing.assert_allclose(softmax(logits).mean(0), 0.9 * shares + 0.1 / 3, atol=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_was_heard_whole_needn_t_be_heard_again(
    heir: str, tones: Corpus, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """Temperature and mean answer come from the readout's own features, as if it had heard anew."""
    labels, clips = label_indices(tones), extract_features(tones.utterances, SETTINGS.frontend)
    split = split_rows(tones, clips.usable, 2, seed=0)
    training = SETTINGS.training.model_copy(update={"precision": precision})
    changes = {"student": heir, "tempi": (0.9, 1.0), "training": training}
    settings = SETTINGS.model_copy(update=changes)

    def learnt(labels: NDArray[np.int64]) -> FittedStudent:
        return learn(clips, {}, labels, tones.labels, split, settings, seed=0)

    with monkeypatch.context() as deaf:
        deaf.setattr(LogMelFeatures, "predict", lambda *given: pytest.fail("it heard them before"))
        made = learnt(labels)
    said = log_posteriors(made.student.posteriors(clips, split.train))
    near = 1e-4 if precision == "float32" else 0.05
    np.testing.assert_allclose(made.student.mean_log_posterior, said.mean(0), rtol=near)
    logits, _ = clips.predict(made.checked.inference_module, split.valid)
    anew = made.checked.calibrated(logits, np.eye(3)[labels[split.valid]])
    assert made.student.temperature == pytest.approx(anew.temperature, rel=near)
    half = labels.copy()
    half[split.train[::2]] = -1  # nothing is known of these: they weren't heard for the readout
    student = learnt(half).student
    said = log_posteriors(student.posteriors(clips, split.train))
    np.testing.assert_allclose(student.mean_log_posterior, said.mean(0), rtol=1e-4)


def test_labels_of_validation_speakers_alone_teach_the_readout_alone(
    nano: str, tones: Corpus, tone_targets: MakeTargets
) -> None:
    """Teachers who only lend their representation leave the classes to those labels."""
    labels, clips = label_indices(tones), extract_features(tones.utterances, SETTINGS.frontend)
    split = split_rows(tones, clips.usable, 2, seed=0)
    labels[split.train] = -1
    who = [u.speaker_id for u in tones.utterances]
    targets = [tone_targets(tones, modality) for modality in ("speech", "face")]
    views = features_by_modality(targets, who, split.mask(len(labels)), SETTINGS.heads)
    settings = SETTINGS.model_copy(update={"loss": Loss(posterior=0.0)})
    learnt = learn(clips, views, labels, tones.labels, split, settings, seed=0)
    assert not learnt.checked.module.readout.weight.any()  # type: ignore[union-attr]
    assert learnt.student.module.readout.weight.any()  # type: ignore[union-attr]
    logits, _ = clips.predict(learnt.checked.inference_module, split.valid)
    anew = learnt.checked.calibrated(logits, np.eye(3)[labels[split.valid]])
    assert learnt.checked.temperature == anew.temperature


def test_nothing_to_recall_is_an_error(tones: Corpus, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no backbone: give one"):
        distill(tones, [], tmp_path, SETTINGS.model_copy(update={"backbone_interpolation": 0.4}))
    with pytest.raises(InputError, match="only a readout"):
        Distillation.read({"backbone_interpolation": 0.4, "readout": 0.0})


def test_a_readout_hears_alike_in_half_the_precision(heir: str, tones: Corpus) -> None:
    clips = extract_features(tones.utterances, SETTINGS.frontend)
    rows, views = np.flatnonzero(clips.usable), Views((1.0, 1.1), (0.05,))
    module = build_student(heir, 3, 16)
    exact, rough = (
        ClipFeatures.extract(module, clips, rows, views, precision).features
        for precision in ("float32", "bfloat16")
    )
    assert len(exact) == len(rough) == 3
    for one, other in zip(exact, rough, strict=True):
        assert not np.array_equal(one, other)
        spread = one.std(0) + 0.1 * one.std()
        assert np.sqrt(np.mean(((one - other) / spread) ** 2)) < 0.1


def test_what_is_heard_of_drawn_variants_is_part_of_what_is_heard_of_all(
    heir: str, tones: Corpus
) -> None:
    clips = extract_features(tones.utterances, SETTINGS.frontend)
    rows, views = np.flatnonzero(clips.usable), Views((1.0, 1.1), (0.05,))
    module = build_student(heir, 3, 16)
    module.readout.weight.data.normal_()  # type: ignore[union-attr, operator]
    drawn = views.drawn(len(rows), 2, np.random.default_rng(0))
    drawn[:, 5] = True
    whole = ClipFeatures.extract(module, clips, rows, views, "float32")
    part = ClipFeatures.extract(module, clips, rows, views, "float32", drawn)
    assert drawn.sum(0).tolist() == [2] * 5 + [3] + [2] * (len(rows) - 6)
    for own, all_, some in zip(drawn, whole.features, part.features, strict=True):
        np.testing.assert_allclose(some, all_[own], atol=1e-5)
    few = rows[3:9]
    features, whose = part.of(few)
    assert np.bincount(whose).tolist() == [2, 2, 3, 2, 2, 2]
    said = module.readout(features).log_softmax(-1).detach().numpy()  # type: ignore[operator]
    means = [said[whose == place].mean(0) for place in range(len(few))]
    np.testing.assert_allclose(part.read(module, few), means, atol=1e-5)


def test_a_readout_of_drawn_variants_is_another_and_certain_by_all(
    heir: str, tones: Corpus
) -> None:
    labels, clips = label_indices(tones), extract_features(tones.utterances, SETTINGS.frontend)
    split = split_rows(tones, clips.usable, 2, seed=0)
    said = []
    for many in (None, 3, 2):
        settings = SETTINGS.model_copy(
            update={"student": heir, "shifts": (-0.05, 0.05), "readout_views": many}
        )
        learnt = learn(clips, {}, labels, tones.labels, split, settings, seed=0)
        logits, _ = clips.predict(learnt.checked.inference_module, split.valid)
        anew = learnt.checked.calibrated(logits, np.eye(3)[labels[split.valid]])
        assert learnt.checked.temperature == pytest.approx(anew.temperature, rel=1e-3)
        said.append(logits)
    np.testing.assert_array_equal(said[0], said[1])
    assert not np.allclose(said[0], said[2], atol=1e-3)


def test_a_balanced_student_answers_as_if_all_emotions_were_as_frequent(
    nano: str, tones: Corpus
) -> None:
    labels = label_indices(tones)
    labels[np.flatnonzero(labels == 0)[3:]] = -1  # of the first emotion only a few are labelled
    clips = extract_features(tones.utterances, SETTINGS.frontend)
    split = split_rows(tones, clips.usable, 0, seed=0)
    logits = [
        clips.predict(
            learn(
                clips,
                {},
                labels,
                tones.labels,
                split,
                SETTINGS.model_copy(update={"balanced": balanced}),
                seed=0,
            ).student.module,
            split.train[:5],
        )[0]
        for balanced in (False, True)
    ]
    prior = np.bincount(labels[labels >= 0]) / (labels >= 0).sum()
    spoken = 0.9 * prior + 0.1 / len(prior)  # what label smoothing makes of it
    taken = np.tile(np.log(spoken * len(prior)), (5, 1))
    np.testing.assert_allclose(logits[0] - logits[1], taken, atol=1e-4)


def test_joined_corpora_are_balanced_each_by_itself(nano: str, tones: Corpus) -> None:
    """An emotion that one corpus alone has isn't rare there, so nothing is to be made up for."""
    labels = label_indices(tones)
    sources = np.where(np.arange(len(labels)) < len(labels) // 4, "few", "many")
    only = (sources == "many") & (labels == 0)
    clips = extract_features(tones.utterances, SETTINGS.frontend)
    split = split_rows(tones, clips.usable & ~only, 0, seed=0)
    logits = [
        clips.predict(
            learn(
                clips, {}, labels, tones.labels, split, settings, 0, sources=sources
            ).student.module,
            split.train[:5],
        )[0]
        for settings in (SETTINGS.model_copy(update={"balanced": b}) for b in (False, True))
    ]
    shifts, known = np.zeros(3), np.zeros(3)
    for source in ("few", "many"):
        own = labels[split.train][sources[split.train] == source]
        prior = np.bincount(own, minlength=3) / len(own)
        taught = prior > 0
        shifts += np.where(taught, np.log((0.9 * prior + 0.1 / 3) * taught.sum()), 0.0)
        known += taught
    assert known.tolist() == [1, 2, 2]
    taken = np.tile(shifts / known, (5, 1))
    np.testing.assert_allclose(logits[0] - logits[1], taken, atol=1e-4)
    assert abs(taken[0, 0]) < 0.2

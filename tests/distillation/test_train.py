"""The loop: the same for a seed, the same after a kill, and blind to what it must not see."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from liser.config import Frontend, Loss, Training
from liser.distillation.data import Split
from liser.distillation.train import TrainingResult, batches_of_round, train
from liser.distillation.training_targets import (
    EmbeddingTarget,
    TrainingTargets,
    training_targets,
)
from liser.errors import InputError
from liser.students.augment import centre_crop
from liser.students.cnn import Cnn
from liser.students.features import LogMelFeatures
from liser.students.module import StudentModule
from liser.students.registry import build_student

MELS, FRAMES, CLASSES = 16, 24, 3
SETTINGS = Training(
    updates=20,
    updates_a_round=4,
    batch_size=8,
    crop_s=0.3,
    learning_rate=5e-3,
    device="cpu",
    precision="float32",
)
PLAIN = SETTINGS.model_copy(update={"augment": False, "mixup": 0.0})
SPLIT = Split(np.arange(30), np.arange(30, 40))


def easy(n: int = 40) -> tuple[LogMelFeatures, NDArray[np.int64]]:
    """Clips that have their energy in a band of their class."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % CLASSES
    logmel = rng.normal(0, 0.5, (n, FRAMES, MELS))
    for row, label in enumerate(labels):
        logmel[row, :, 5 * label : 5 * label + 4] += 1
    frames = rng.integers(FRAMES // 2, FRAMES + 1, n)
    clips = LogMelFeatures(logmel.astype(np.float16), frames, Frontend(mels=MELS), ())
    return clips, labels


def student(seed: int = 0) -> StudentModule:
    torch.manual_seed(seed)
    return Cnn(CLASSES, MELS, (4, 8), 8)


def supervised(labels: NDArray[np.int64]) -> TrainingTargets:
    return training_targets(None, labels, CLASSES, Loss())


def distilled(labels: NDArray[np.int64], **changes: Any) -> TrainingTargets:
    """Targets of two made-up teachers; the face teacher could use 70 % of the clips."""
    rng = np.random.default_rng(1)
    n = len(labels)
    posteriors = rng.dirichlet(np.ones(CLASSES), n)
    valid = rng.random(n) < 0.7
    speech = rng.normal(size=(n, 5))
    face = np.where(valid[:, None], rng.normal(size=(n, 7)), 0)
    embeddings = {"speech": (speech, np.ones(n, np.bool_), 1.0), "face": (face, valid, 0.5)}
    return training_targets(posteriors, labels, CLASSES, Loss(**changes), embeddings)


def same(a: StudentModule, b: StudentModule) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def run(
    targets: TrainingTargets, s: Training = SETTINGS, seed: int = 0, **more: Any
) -> TrainingResult:
    features = more.pop("features", easy()[0])
    return train(student(), features, targets, more.pop("split", SPLIT), s, seed, **more)


def test_a_seed_decides_everything() -> None:
    targets = distilled(easy()[1])
    first = run(targets)
    torch.manual_seed(99)  # whatever was drawn before
    again = run(targets)
    assert same(first.module, again.module)
    assert first.history == again.history
    other = run(targets, seed=1)
    assert not same(first.module, other.module)


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def unbroken() -> TrainingResult:
    return run(distilled(easy()[1]), progress=lambda *_: None)


@given(k=st.integers(1, 5), seed=st.integers(0, 2**31))
@settings(max_examples=6, deadline=None)
def test_a_killed_run_ends_where_an_unbroken_one_does(
    tmp_path_factory: pytest.TempPathFactory, unbroken: TrainingResult, k: int, seed: int
) -> None:
    checkpoint = tmp_path_factory.mktemp("run") / "checkpoint.pt"

    def kill(done: int, total: int, score: float) -> None:
        assert total == 5
        if done == k:
            raise Killed

    with pytest.raises(Killed):
        run(distilled(easy()[1]), checkpoint=checkpoint, progress=kill)
    torch.manual_seed(seed)
    rounds = []
    resumed = run(
        distilled(easy()[1]), checkpoint=checkpoint, progress=lambda done, *_: rounds.append(done)
    )
    assert rounds == list(range(k + 1, 6))
    assert same(resumed.module, unbroken.module)
    assert resumed.history == unbroken.history


@pytest.mark.parametrize(
    ("s", "seed"), [(SETTINGS.model_copy(update={"learning_rate": 1e-3}), 0), (SETTINGS, 1)]
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, s: Training, seed: int) -> None:
    targets = supervised(easy()[1])
    run(targets, checkpoint=tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="made with other settings or another seed"):
        run(targets, s, seed, checkpoint=tmp_path / "checkpoint.pt")


def test_an_easy_task_is_learnt() -> None:
    clips, labels = easy(90)
    quick = SETTINGS.model_copy(update={"updates": 120, "updates_a_round": 20})
    trained = run(
        supervised(labels), quick, features=clips, split=Split(np.arange(60), np.arange(60, 90))
    )
    assert trained.history[-1]["valid_uar"] > 0.9
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    logits, _ = clips.predict(trained.module, np.arange(60, 90))
    assert (logits.argmax(1) == labels[60:]).mean() > 0.9


def test_teachers_alone_can_teach_it() -> None:
    clips, labels = easy(90)
    unknown = np.full(90, -1)
    posteriors = 0.9 * np.eye(CLASSES)[labels] + 0.1 / CLASSES
    quick = SETTINGS.model_copy(update={"updates": 120, "updates_a_round": 40})
    targets = training_targets(posteriors, unknown, CLASSES, Loss())
    trained = run(targets, quick, features=clips, split=Split(np.arange(60), np.arange(60, 90)))
    logits, _ = clips.predict(trained.module, np.arange(60, 90))
    assert (logits.argmax(1) == labels[60:]).mean() > 0.9


def test_validation_scores_choose_nothing_and_are_of_the_average() -> None:
    clips, labels = easy()
    wrong = labels.copy()
    wrong[30:] = (labels[30:] + 1) % CLASSES  # training makes it worse and worse for them
    calls: list[tuple[int, int, float]] = []
    trained = run(supervised(wrong), PLAIN, features=clips, progress=lambda *a: calls.append(a))
    other = run(supervised(labels), PLAIN, features=clips, progress=lambda *_: None)
    assert same(trained.module, other.module)
    scores = [h["valid_uar"] for h in trained.history]
    assert scores != [h["valid_uar"] for h in other.history]
    assert calls == [(done + 1, 5, score) for done, score in enumerate(scores)]
    middle = centre_crop(*clips.batch(np.arange(30, 40)), clips.crop_frames(PLAIN))
    with torch.inference_mode():
        predictions = trained.module(middle)[0].argmax(1).numpy()
    recalls = [(predictions == c)[wrong[30:] == c].mean() for c in range(CLASSES)]
    assert np.mean(recalls) == pytest.approx(scores[-1]), "not the last average"


def test_without_a_progress_callback_only_the_last_round_is_scored() -> None:
    targets = supervised(easy()[1])
    alone, scored = run(targets, PLAIN), run(targets, PLAIN, progress=lambda *_: None)
    assert same(alone.module, scored.module)
    assert [set(h) for h in alone.history] == [{"loss"}] * 4 + [{"loss", "valid_uar"}]
    assert alone.history[-1] == scored.history[-1]


@torch.no_grad()
def distance(a: StudentModule, b: StudentModule) -> float:
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return sum((x - y).square().sum().item() for x, y in pairs) ** 0.5


def test_the_result_is_the_averaged_weights() -> None:
    targets = supervised(easy()[1])
    averaged = run(targets, SETTINGS.model_copy(update={"average": 0.9})).module
    last = run(targets, SETTINGS.model_copy(update={"average": 0.0})).module
    assert not same(averaged, last)
    assert distance(averaged, last) < distance(student(), last)


def test_the_average_soon_forgets_the_initial_weights() -> None:
    """In 20 updates a decay of 0.999 by itself would leave 98 % of them."""
    targets = supervised(easy()[1])
    averaged = run(targets, SETTINGS.model_copy(update={"average": 0.999})).module
    last = run(targets, SETTINGS.model_copy(update={"average": 0.0})).module
    way = distance(student(), last)
    assert distance(averaged, last) < 0.5 * way < distance(averaged, student())


def test_validation_clips_are_not_needed() -> None:
    nobody = np.arange(0)
    trained = run(
        supervised(easy()[1]), split=Split(np.arange(30), nobody), progress=lambda *_: None
    )
    assert [h["valid_uar"] for h in trained.history] == [0.0] * 5


def poisoned(clips: LogMelFeatures, rows: NDArray[np.int64]) -> LogMelFeatures:
    logmel = clips.logmel.copy()
    logmel[rows] = np.nan
    return LogMelFeatures(logmel, clips.frames, clips.frontend, clips.skipped)


def test_validation_clips_never_enter_an_update() -> None:
    clips, labels = easy()
    clean = run(distilled(labels))
    odd = run(distilled(labels), features=poisoned(clips, SPLIT.valid))
    assert same(clean.module, odd.module)
    assert [h["loss"] for h in clean.history] == [h["loss"] for h in odd.history]


def test_clips_outside_the_split_are_never_touched() -> None:
    clips, labels = easy()
    split = Split(np.arange(20), np.arange(30, 40))
    clean = run(distilled(labels), split=split)
    odd = run(distilled(labels), split=split, features=poisoned(clips, np.arange(20, 30)))
    assert same(clean.module, odd.module)


def test_clips_without_a_target_are_never_used() -> None:
    clips, labels = easy()
    labels[10:30] = -1
    clean = run(supervised(labels))
    odd = run(supervised(labels), features=poisoned(clips, np.arange(10, 30)))
    assert same(clean.module, odd.module)


def test_a_posterior_of_weight_zero_teaches_nothing_even_mixed_into_another() -> None:
    """Clips that only alignment can use are mixed with labelled ones: no class may leak in."""
    always = SETTINGS.model_copy(update={"mixup": 1.0, "mixup_share": 1.0})
    labels = easy()[1]
    labels[10:] = -1
    targets = distilled(labels, posterior=0.0)
    silent = targets.posterior_weight == 0
    assert silent.sum() == 30
    results = []
    for label in (0, 1):
        posterior = targets.posterior.clone()
        posterior[silent] = torch.eye(CLASSES)[label]
        changed = replace(targets, posterior=posterior)
        results.append(run(changed, always, split=Split(np.arange(40), np.arange(0))))
    assert same(results[0].module, results[1].module)


@pytest.mark.parametrize("s", [PLAIN, SETTINGS.model_copy(update={"mixup_share": 1.0})])
def test_alignment_leaves_out_what_the_teacher_could_not_use(s: Training) -> None:
    targets = distilled(easy()[1])
    changed: dict[str, EmbeddingTarget] = {}
    for name, (target, valid, weight) in targets.embeddings.items():
        changed[name] = EmbeddingTarget(torch.where(valid[:, None] > 0, target, 1e3), valid, weight)
    other = replace(targets, embeddings=changed)
    assert same(run(targets, s).module, run(other, s).module)


@pytest.mark.parametrize("term", ["speech", "face"])
def test_each_alignment_teaches_something(term: str) -> None:
    targets = distilled(easy()[1])
    fewer: Mapping[str, Any] = {n: e for n, e in targets.embeddings.items() if n != term}
    without = replace(targets, embeddings=fewer)
    assert not same(run(targets).module, run(without).module)


def test_nothing_to_learn_from_is_an_error() -> None:
    labels = np.full(40, -1)
    with pytest.raises(InputError, match="0 clips to learn from"):
        run(supervised(labels))
    labels[0] = 1
    with pytest.raises(InputError, match="1 clips to learn from"):
        run(supervised(labels))


def test_training_that_diverges_stops_and_names_the_update(tmp_path: Path) -> None:
    targets = supervised(easy()[1])
    hasty = SETTINGS.model_copy(update={"learning_rate": 1e30})
    words = r"diverged at update \d+ of 20: .* lower learning_rate \(this was 1e\+30\)"
    with pytest.raises(InputError, match=words):
        run(targets, hasty, checkpoint=tmp_path / "c.pt")
    assert not (tmp_path / "c.pt").exists()
    broken = replace(targets, posterior=targets.posterior * float("nan"))
    with pytest.raises(InputError, match="diverged at update 1 of 20: the loss is nan"):
        run(broken)


def test_weights_that_only_the_last_update_broke_are_refused() -> None:
    one = SETTINGS.model_copy(update={"updates": 1, "learning_rate": float("inf")})
    with pytest.raises(InputError, match=r"diverged at update 1 of 1: weights of .* aren't finite"):
        run(supervised(easy()[1]), one)


def test_fewer_clips_than_a_batch_will_do() -> None:
    trained = run(supervised(easy()[1]), split=Split(np.arange(3), np.arange(30, 40)))
    assert len(trained.history) == 5
    assert np.isfinite(trained.history[-1]["loss"])


def test_every_clip_is_used_once_before_any_is_used_again() -> None:
    batches = batches_of_round(np.arange(100, 120), SETTINGS, seed=0)
    assert [len(b) for b in batches] == [8] * 4
    used = np.concatenate(batches)
    assert sorted(used[:20]) == list(range(100, 120))
    assert len(set(used[20:])) == 12


def test_bfloat16_is_near_float32() -> None:
    targets = distilled(easy()[1])
    half = run(targets, SETTINGS.model_copy(update={"precision": "bfloat16"}))
    for ours, exact in zip(half.history, run(targets).history, strict=True):
        assert ours["loss"] == pytest.approx(exact["loss"], rel=0.05)
    assert all(p.dtype == torch.float32 for p in half.module.parameters())


def test_every_round_is_cropped_and_augmented_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    import liser.distillation.batch as module

    seeds = []

    def crop(logmel: Any, frames: Any, length: int, rng: torch.Generator) -> torch.Tensor:
        seeds.append(rng.initial_seed())
        return logmel[:, :length]

    monkeypatch.setattr(module, "crop", crop)
    run(supervised(easy()[1]))
    assert len(seeds) == 20
    assert len(set(seeds)) == 5


def test_no_more_updates_are_made_than_asked_for(tmp_path: Path) -> None:
    odd = SETTINGS.model_copy(update={"updates": 6})
    run(supervised(easy()[1]), odd, checkpoint=tmp_path / "checkpoint.pt")
    snapshot = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert (snapshot["step"], snapshot["round"]) == (6, 2)


def test_few_clips_are_passed_over_so_often_and_no_more() -> None:
    """Of thirty clips twelve have a label: two passes are three batches of eight."""
    labels = easy()[1]
    labels[12:30] = -1
    twice, three, all_updates = (
        run(supervised(labels), SETTINGS.model_copy(update=changes)).module
        for changes in ({"passes": 2}, {"updates": 3}, {})
    )
    assert same(twice, three) and not same(twice, all_updates)


def test_passes_never_add_updates() -> None:
    often = SETTINGS.model_copy(update={"passes": 1000})
    assert same(run(supervised(easy()[1]), often).module, run(supervised(easy()[1])).module)


def test_degradation_changes_the_student_and_is_repeatable() -> None:
    targets = supervised(easy()[1])
    hard = SETTINGS.model_copy(update={"degradation_augmentation": 0.5, "updates": 4})
    first, again = run(targets, hard), run(targets, hard)
    assert same(first.module, again.module)
    easier = run(targets, SETTINGS.model_copy(update={"updates": 4}))
    assert not same(first.module, easier.module)


def test_transferred_layers_learn_at_a_rate_of_their_own(heir: str) -> None:
    torch.manual_seed(0)
    fresh = build_student(heir, CLASSES, MELS)
    still = SETTINGS.model_copy(update={"transferred_rate": 0.0, "updates": 4, "weight_decay": 0.0})
    before = {name: value.clone() for name, value in fresh.named_parameters()}
    trained = train(fresh, easy()[0], supervised(easy()[1]), SPLIT, still, 0).module
    moved = {n for n, value in trained.named_parameters() if not torch.equal(value, before[n])}
    learnable = {n for n, value in trained.named_parameters() if value.requires_grad}
    assert moved == {n for n in learnable if n.split(".")[0] not in trained.transferred}


def test_unlabelled_validation_clips_are_scored_against_their_teachers() -> None:
    """The posterior's best class stands in for the label."""
    clips, labels = easy()
    hidden = labels.copy()
    hidden[30:] = -1
    posteriors = np.eye(CLASSES)[labels] * 0.9 + 0.1 / CLASSES
    own = training_targets(posteriors, hidden, CLASSES, Loss())
    trained = run(own, PLAIN, features=clips)
    same_run = run(supervised(labels), PLAIN, features=clips)
    assert trained.history[-1]["valid_uar"] == same_run.history[-1]["valid_uar"]

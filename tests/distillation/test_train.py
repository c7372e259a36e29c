"""The loop: the same for a seed, the same after a kill, and blind to what it must not see."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from liser.config import Frontend, Loss, Training
from liser.distillation.train import (
    TrainingResult,
    TrainingTargets,
    _mixing,
    _State,
    schedule,
    train,
    training_targets,
)
from liser.errors import InputError
from liser.students.augment import augment, centre_crop, crop
from liser.students.cnn import Cnn
from liser.students.features import LogMelFeatures

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
Rows = tuple[NDArray[np.int64], NDArray[np.int64]]
ROWS: Rows = (np.arange(30), np.arange(30, 40))


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


def student(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return Cnn(CLASSES, MELS, (4, 8), 8)


def supervised(labels: NDArray[np.int64]) -> TrainingTargets:
    return training_targets(None, labels, CLASSES, Loss())


def taught(labels: NDArray[np.int64], **changes: Any) -> TrainingTargets:
    """Lessons with everything: labels, posteriors, and two teachers' embeddings."""
    rng = np.random.default_rng(1)
    n = len(labels)
    said = rng.dirichlet(np.ones(CLASSES), n)
    valid = rng.random(n) < 0.7
    speech = rng.normal(size=(n, 5))
    face = np.where(valid[:, None], rng.normal(size=(n, 7)), 0)
    seen = {"speech": (speech, np.ones(n, np.bool_), 1.0), "face": (face, valid, 0.5)}
    return training_targets(said, labels, CLASSES, Loss(**changes), seen)


def same(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def run(
    lessons: TrainingTargets, s: Training = SETTINGS, seed: int = 0, **more: Any
) -> TrainingResult:
    clips = more.pop("clips", easy()[0])
    return train(student(), clips, lessons, more.pop("rows", ROWS), s, seed, **more)


def test_a_seed_decides_everything() -> None:
    lessons = taught(easy()[1])
    first = run(lessons)
    torch.manual_seed(99)  # whatever was drawn before
    again = run(lessons)
    assert same(first.student, again.student)
    assert first.history == again.history
    other = run(lessons, seed=1)
    assert not same(first.student, other.student)


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def unbroken() -> TrainingResult:
    return run(taught(easy()[1]), progress=lambda *_: None)


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
        run(taught(easy()[1]), checkpoint=checkpoint, progress=kill)
    torch.manual_seed(seed)
    rounds = []
    resumed = run(
        taught(easy()[1]), checkpoint=checkpoint, progress=lambda done, *_: rounds.append(done)
    )
    assert rounds == list(range(k + 1, 6))
    assert same(resumed.student, unbroken.student)
    assert resumed.history == unbroken.history


@pytest.mark.parametrize(
    ("s", "seed"), [(SETTINGS.model_copy(update={"learning_rate": 1e-3}), 0), (SETTINGS, 1)]
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, s: Training, seed: int) -> None:
    lessons = supervised(easy()[1])
    run(lessons, checkpoint=tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="made with other settings or another seed"):
        run(lessons, s, seed, checkpoint=tmp_path / "checkpoint.pt")


def test_an_easy_task_is_learnt() -> None:
    clips, labels = easy(90)
    quick = SETTINGS.model_copy(update={"updates": 120, "updates_a_round": 20})
    trained = run(supervised(labels), quick, clips=clips, rows=(np.arange(60), np.arange(60, 90)))
    assert trained.history[-1]["valid_uar"] > 0.9
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    logits, _ = clips.predict(trained.student, np.arange(60, 90))
    assert (logits.argmax(1) == labels[60:]).mean() > 0.9


def test_teachers_alone_can_teach_it() -> None:
    clips, labels = easy(90)
    unknown = np.full(90, -1)
    said = 0.9 * np.eye(CLASSES)[labels] + 0.1 / CLASSES
    quick = SETTINGS.model_copy(update={"updates": 120, "updates_a_round": 40})
    lessons = training_targets(said, unknown, CLASSES, Loss())
    trained = run(lessons, quick, clips=clips, rows=(np.arange(60), np.arange(60, 90)))
    logits, _ = clips.predict(trained.student, np.arange(60, 90))
    assert (logits.argmax(1) == labels[60:]).mean() > 0.9


def test_the_average_at_the_end_is_kept_whatever_the_validation_speakers_say() -> None:
    clips, labels = easy()
    wrong = labels.copy()
    wrong[30:] = (labels[30:] + 1) % CLASSES  # what is learnt is worse and worse for them
    told: list[tuple[int, int, float]] = []
    trained = run(supervised(wrong), PLAIN, clips=clips, progress=lambda *a: told.append(a))
    other = run(supervised(labels), PLAIN, clips=clips, progress=lambda *_: None)
    assert same(trained.student, other.student)
    scores = [h["valid_uar"] for h in trained.history]
    assert scores != [h["valid_uar"] for h in other.history]
    assert told == [(done + 1, 5, score) for done, score in enumerate(scores)]
    heard = centre_crop(*clips.batch(np.arange(30, 40)), clips.crop_frames(PLAIN))
    with torch.inference_mode():
        predicted = trained.student(heard)[0].argmax(1).numpy()
    recalls = [(predicted == c)[wrong[30:] == c].mean() for c in range(CLASSES)]
    assert np.mean(recalls) == pytest.approx(scores[-1]), "not the last average"


def test_where_nobody_watches_validation_speakers_are_asked_at_the_end_alone() -> None:
    lessons = supervised(easy()[1])
    alone, watched = run(lessons, PLAIN), run(lessons, PLAIN, progress=lambda *_: None)
    assert same(alone.student, watched.student)
    assert [set(h) for h in alone.history] == [{"loss"}] * 4 + [{"loss", "valid_uar"}]
    assert alone.history[-1] == watched.history[-1]


def test_it_is_the_average_that_is_kept() -> None:
    lessons = supervised(easy()[1])
    kept = run(lessons, SETTINGS.model_copy(update={"average": 0.9})).student
    last = run(lessons, SETTINGS.model_copy(update={"average": 0.0})).student
    assert not same(kept, last)


def test_validation_clips_are_not_needed() -> None:
    nobody = np.arange(0)
    trained = run(supervised(easy()[1]), rows=(np.arange(30), nobody), progress=lambda *_: None)
    assert [h["valid_uar"] for h in trained.history] == [0.0] * 5


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_each_clip_is_mixed_with_a_weight_of_its_own(share: float) -> None:
    s = SETTINGS.model_copy(update={"mixup": 0.5, "mixup_share": share})
    kept, partner = _mixing(4000, s, torch.Generator().manual_seed(0))
    assert sorted(partner.tolist()) == list(range(4000))
    mixed = kept < 1
    assert mixed.float().mean().item() == pytest.approx(share, abs=0.03)
    assert len(kept[mixed].unique()) > 0.9 * int(mixed.sum())
    # Beta(0.5, 0.5) has mean 1/2 and variance 1/8
    assert kept[mixed].mean().item() == pytest.approx(0.5, abs=0.05)
    assert kept[mixed].var().item() == pytest.approx(0.125, abs=0.02)


def test_without_mixup_every_clip_keeps_to_itself() -> None:
    for change in ({"mixup": 0.0}, {"mixup_share": 0.0}):
        kept, _ = _mixing(50, SETTINGS.model_copy(update=change), torch.Generator())
        assert (kept == 1).all()


def poisoned(clips: LogMelFeatures, rows: NDArray[np.int64]) -> LogMelFeatures:
    logmel = clips.logmel.copy()
    logmel[rows] = np.nan
    return LogMelFeatures(logmel, clips.frames, clips.frontend, clips.skipped)


def test_validation_clips_never_enter_an_update() -> None:
    clips, labels = easy()
    clean = run(taught(labels))
    odd = run(taught(labels), clips=poisoned(clips, ROWS[1]))
    assert same(clean.student, odd.student)
    assert [h["loss"] for h in clean.history] == [h["loss"] for h in odd.history]


def test_clips_outside_the_rows_are_never_touched() -> None:
    clips, labels = easy()
    rows = (np.arange(20), np.arange(30, 40))
    clean = run(taught(labels), rows=rows)
    odd = run(taught(labels), rows=rows, clips=poisoned(clips, np.arange(20, 30)))
    assert same(clean.student, odd.student)


def test_clips_without_a_lesson_are_never_used() -> None:
    clips, labels = easy()
    labels[10:30] = -1
    clean = run(supervised(labels))
    odd = run(supervised(labels), clips=poisoned(clips, np.arange(10, 30)))
    assert same(clean.student, odd.student)


def test_a_lesson_of_weight_zero_teaches_nothing_even_mixed_into_another() -> None:
    """Clips that only alignment can use are mixed with labelled ones: no class may leak in."""
    always = SETTINGS.model_copy(update={"mixup": 1.0, "mixup_share": 1.0})
    labels = easy()[1]
    labels[10:] = -1
    lessons = taught(labels, posterior=0.0)
    silent = lessons.posterior_weight == 0
    assert silent.sum() == 30
    results = []
    for said in (0, 1):
        posterior = lessons.posterior.clone()
        posterior[silent] = torch.eye(CLASSES)[said]
        changed = replace(lessons, posterior=posterior)
        results.append(run(changed, always, rows=(np.arange(40), np.arange(0))))
    assert same(results[0].student, results[1].student)


@pytest.mark.parametrize("s", [PLAIN, SETTINGS.model_copy(update={"mixup_share": 1.0})])
def test_alignment_leaves_out_what_the_teacher_could_not_use(s: Training) -> None:
    lessons = taught(easy()[1])
    changed: dict[str, tuple[torch.Tensor, torch.Tensor, float]] = {}
    for name, (target, valid, weight) in lessons.embeddings.items():
        changed[name] = (torch.where(valid[:, None] > 0, target, 1e3), valid, weight)
    other = replace(lessons, embeddings=changed)
    assert same(run(lessons, s).student, run(other, s).student)


@pytest.mark.parametrize("term", ["speech", "face"])
def test_each_alignment_teaches_something(term: str) -> None:
    lessons = taught(easy()[1])
    fewer: Mapping[str, Any] = {n: e for n, e in lessons.embeddings.items() if n != term}
    without = replace(lessons, embeddings=fewer)
    assert not same(run(lessons).student, run(without).student)


def test_a_label_is_taught_before_what_a_teacher_says() -> None:
    labels = np.array([2, -1, -1])
    said = np.array([[0.8, 0.1, 0.1], [0.5, 0.25, 0.25], [1 / 3] * 3])
    lessons = training_targets(said, labels, CLASSES, Loss(temperature=2.0, posterior=0.5))
    assert lessons.posterior[0].tolist() == [0, 0, 1]
    root = np.sqrt(said[1])
    np.testing.assert_allclose(lessons.posterior[1], root / root.sum(), rtol=1e-5)
    sure = 1 + (said[1] * np.log(said[1])).sum() / np.log(3)
    np.testing.assert_allclose(lessons.posterior_weight, [1, 0.5 * sure, 0], atol=1e-6)


def test_a_label_may_share_its_clip_with_what_a_teacher_says() -> None:
    labels = np.array([2, -1])
    said = np.array([[0.8, 0.1, 0.1], [0.5, 0.25, 0.25]])
    lessons = training_targets(said, labels, CLASSES, Loss(label_share=0.75))
    np.testing.assert_allclose(lessons.posterior, [[0.2, 0.025, 0.775], said[1]], rtol=1e-5)
    assert lessons.posterior_weight[0] == 1
    assert lessons.truth[0].tolist() == [0, 0, 1]  # what it is scored and calibrated by
    # without a teacher, or where none looked, a label is all there is
    unseen = np.array([False, False])
    blind = training_targets(said, labels, CLASSES, Loss(label_share=0.75), looked=unseen)
    assert blind.posterior[0].tolist() == [0, 0, 1]
    assert blind.posterior_weight.tolist() == [1, 0]
    alone = training_targets(None, labels, CLASSES, Loss(label_share=0.75))
    assert alone.posterior[0].tolist() == [0, 0, 1]


def test_terms_that_are_switched_off_are_not_there() -> None:
    labels = np.array([2, -1])
    said = np.full((2, 3), 1 / 3)
    seen = {"speech": (np.ones((2, 4)), np.array([True, False]), 0.0)}
    lessons = training_targets(said, labels, CLASSES, Loss(posterior=0), seen)
    assert lessons.posterior_weight.tolist() == [1, 0]
    assert lessons.embeddings == {}


def test_nothing_to_learn_from_is_an_error() -> None:
    labels = np.full(40, -1)
    with pytest.raises(InputError, match="0 clips to learn from"):
        run(supervised(labels))
    labels[0] = 1
    with pytest.raises(InputError, match="1 clips to learn from"):
        run(supervised(labels))


def test_training_that_diverges_stops_and_says_where(tmp_path: Path) -> None:
    lessons = supervised(easy()[1])
    hasty = SETTINGS.model_copy(update={"learning_rate": 1e30})
    words = r"diverged at update \d+ of 20: .* lower learning_rate \(this was 1e\+30\)"
    with pytest.raises(InputError, match=words):
        run(lessons, hasty, checkpoint=tmp_path / "c.pt")
    assert not (tmp_path / "c.pt").exists()
    broken = replace(lessons, posterior=lessons.posterior * float("nan"))
    with pytest.raises(InputError, match="diverged at update 1 of 20: the loss is nan"):
        run(broken)


def test_weights_that_only_the_last_update_broke_are_not_kept() -> None:
    one = SETTINGS.model_copy(update={"updates": 1, "learning_rate": float("inf")})
    with pytest.raises(InputError, match=r"diverged at update 1 of 1: weights of .* aren't finite"):
        run(supervised(easy()[1]), one)


def test_fewer_clips_than_a_batch_will_do() -> None:
    trained = run(supervised(easy()[1]), rows=(np.arange(3), np.arange(30, 40)))
    assert len(trained.history) == 5
    assert np.isfinite(trained.history[-1]["loss"])


def test_the_rate_warms_up_and_falls_to_nothing() -> None:
    rates = [schedule(step, 200) for step in range(200)]
    assert rates[0] == pytest.approx(0.1, rel=0.01)
    assert max(rates) == rates[9] > 0.99
    assert all(a > b for a, b in pairwise(rates[9:]))
    assert rates[-1] < 1e-3


def test_every_clip_is_used_once_before_any_is_used_again() -> None:
    from liser.distillation.train import _order

    batches = _order(np.arange(100, 120), SETTINGS, seed=0)
    assert [len(b) for b in batches] == [8] * 4
    used = np.concatenate(batches)
    assert sorted(used[:20]) == list(range(100, 120))
    assert len(set(used[20:])) == 12


def test_bfloat16_is_near_float32() -> None:
    lessons = taught(easy()[1])
    half = run(lessons, SETTINGS.model_copy(update={"precision": "bfloat16"}))
    for ours, exact in zip(half.history, run(lessons).history, strict=True):
        assert ours["loss"] == pytest.approx(exact["loss"], rel=0.05)
    assert all(p.dtype == torch.float32 for p in half.student.parameters())


def test_every_round_is_cropped_and_augmented_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    import liser.distillation.train as module

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
        run(supervised(labels), SETTINGS.model_copy(update=changes)).student
        for changes in ({"passes": 2}, {"updates": 3}, {})
    )
    assert same(twice, three) and not same(twice, all_updates)


def test_passes_never_add_updates() -> None:
    often = SETTINGS.model_copy(update={"passes": 1000})
    assert same(run(supervised(easy()[1]), often).student, run(supervised(easy()[1])).student)


def test_bad_sound_that_is_off_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An update draws what crop, augment and mixing draw, in this order, and no number more."""
    clips, labels = easy()
    monkeypatch.setattr(
        "liser.distillation.train.degrade_logmel", lambda *given: pytest.fail("it is off")
    )
    batch, drawn, expected = np.arange(8), torch.Generator(), torch.Generator()
    _State(student(), supervised(labels), SETTINGS, "cpu", 0).update(clips, batch, drawn)
    x = crop(*clips.batch(batch), clips.crop_frames(SETTINGS), expected)
    augment(x, expected)
    _mixing(8, SETTINGS, expected)
    assert torch.equal(drawn.get_state(), expected.get_state())


def test_bad_sound_that_is_on_changes_the_student_and_is_repeatable() -> None:
    lessons = supervised(easy()[1])
    hard = SETTINGS.model_copy(update={"harden": 0.5, "updates": 4})
    first, again = run(lessons, hard), run(lessons, hard)
    assert same(first.student, again.student)
    easier = run(lessons, SETTINGS.model_copy(update={"updates": 4}))
    assert not same(first.student, easier.student)

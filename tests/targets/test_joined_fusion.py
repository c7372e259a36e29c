"""Teachers of one corpus each are fused where corpora are joined."""

import numpy as np
import pytest
from made_features import CLASSES, HEADS, PLAIN, Ints, everyone, good, score, truth_of
from numpy.typing import NDArray

from liser.targets.fusion import (
    TeacherFeatures,
    posteriors,
)


def _apart(truth: Ints, first: NDArray[np.bool_]) -> tuple[TeacherFeatures, TeacherFeatures]:
    """Two teachers, each with features of one corpus only."""
    a, b = good(truth, 0.6, 1), good(truth, 0.6, 2)
    return (
        TeacherFeatures(np.where(first[:, None], a.features, 0), first),
        TeacherFeatures(np.where(first[:, None], 0, b.features), ~first),
    )


def test_teachers_of_one_corpus_each_give_what_they_give_alone() -> None:
    truth = truth_of(400)
    first = np.arange(400) < 120
    a, b = _apart(truth, first)
    labels = np.where(np.arange(400) % 5 < 2, truth, -1)
    both = posteriors([a, b], labels, CLASSES, everyone(truth), HEADS)
    for own, teacher in ((first, a), (~first, b)):
        part = TeacherFeatures(teacher.features[own], own[own])
        alone = posteriors([part], labels[own], CLASSES, own[own], HEADS)
        np.testing.assert_allclose(both[own], alone, atol=1e-9)
        assert score(both[own], truth[own]) > 0.85


def test_a_class_that_one_corpus_lacks_is_decided_by_the_other() -> None:
    truth = truth_of(400)
    first = np.arange(400) < 200
    truth[~first] = np.arange(200) % (CLASSES - 1)  # the second corpus has no clip of the last
    a, b = _apart(truth, first)
    labels = np.where(np.arange(400) % 5 < 2, truth, -1)
    result = posteriors([a, b], labels, CLASSES, everyone(truth), HEADS)
    assert score(result[first], truth[first]) > 0.85
    assert score(result[~first], truth[~first]) > 0.85
    assert (result[first].argmax(1) == CLASSES - 1).mean() == pytest.approx(0.25, abs=0.05)
    assert result[~first, CLASSES - 1].max() < 0.1


def test_a_head_without_labels_of_a_class_does_not_veto_it() -> None:
    """One teacher has features of both corpora, the other only of the one without the class."""
    truth = truth_of(400)
    second = np.arange(400) >= 200
    truth[second] = np.arange(200) % (CLASSES - 1)
    wide, narrow = good(truth, 0.6, 1), good(truth, 0.6, 2)
    labels = np.where(np.arange(400) % 5 < 2, truth, -1)
    narrow = TeacherFeatures(narrow.features, second)
    # unlabelled clips of that class of which the second teacher has features too
    extra = np.flatnonzero((truth == CLASSES - 1) & (labels < 0))[:20]
    narrow.valid[extra] = True
    alone = posteriors([wide], labels, CLASSES, everyone(truth), PLAIN)
    result = posteriors([wide, narrow], labels, CLASSES, everyone(truth), PLAIN)
    assert alone[extra, CLASSES - 1].mean() > 0.8
    assert result[extra, CLASSES - 1].mean() > 0.2


def test_a_head_is_calibrated_on_the_clips_of_its_teacher() -> None:
    truth = truth_of(400)
    first = np.arange(400) < 120
    a, _ = _apart(truth, first)
    labels = np.where(np.arange(400) % 5 < 2, truth, -1)
    result = posteriors([a], labels, CLASSES, everyone(truth), HEADS)
    part = TeacherFeatures(a.features[first], first[first])
    alone = posteriors([part], labels[first], CLASSES, first[first], HEADS)
    np.testing.assert_allclose(result[first], alone, atol=1e-9)
    prior = np.bincount(labels[labels >= 0], minlength=CLASSES) + 1.0
    np.testing.assert_allclose(result[~first], np.tile(prior / prior.sum(), (280, 1)))


def test_a_corpus_without_labels_gets_the_prior() -> None:
    truth = truth_of(400)
    first = np.arange(400) < 200
    a, b = _apart(truth, first)
    labels = np.where(first & (np.arange(400) % 5 < 2), truth, -1)
    labels[200] = truth[200]  # but for one clip: no head can be fitted
    result = posteriors([a, b], labels, CLASSES, everyone(truth), HEADS)
    assert score(result[first], truth[first]) > 0.85
    assert result[~first].max() < 0.3

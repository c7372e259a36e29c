"""The benchmark of students of ingested videos: speakers stay apart, pieces are matched by time."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from liser.corpora.base import Corpus, Utterance

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("opensmile")
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("ingested", FOLDER / "ingested_student.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def corpus() -> Corpus:
    clips = [
        Utterance(f"{who}-{n}", who, label, video=Path(f"{who}-{n}.mp4"))
        for who in "abcdef"
        for n, label in enumerate(("happy", "sad") * 3)
    ]
    return Corpus("synthetic", ("happy", "sad"), "intended", tuple(clips))


def test_no_speaker_is_in_two_groups_and_unlabelled_clips_have_no_label(
    script: ModuleType, corpus: Corpus
) -> None:
    groups = script._groups(corpus, 2, 2, 1, seed=0)
    assert (groups.unlabelled.speakers, groups.test.speakers) == (("c", "d"), ("e", "f"))
    assert set(groups.labelled.speakers) <= {"a", "b"}
    assert sorted(str(u.label) for u in groups.labelled.utterances) == ["happy", "sad"]
    assert {u.label for u in groups.unlabelled.utterances} == {None}


def test_faces_count_only_where_a_piece_with_a_talker_lies_at_the_clips_time(
    script: ModuleType, corpus: Corpus
) -> None:
    clips = corpus.only("a")
    truth = {"a": [(2.0 * n, 2.0 * n + 1, f"a-{n}") for n in range(6)]}
    uses = ("audiovisual", "audio-only", "left out", "audiovisual", "audiovisual")
    starts = (0.1, 2.1, 4.0, 6.9, 8.0)
    rows = [
        {"speaker": "a", "start": start, "end": start + 1, "taken": taken, "reason": "music"}
        for start, taken in zip(starts, uses, strict=True)
    ]
    seen, row = script._compared(clips, rows, truth)
    assert [u.id for u in seen.utterances if u.video] == ["a-0", "a-4"]
    assert (row["used"], row["used and a clip by time"], row["left out"]) == (4, 3, {"music": 1})


def test_differences_are_from_the_clips(script: ModuleType, corpus: Corpus) -> None:
    truth = np.array([corpus.labels.index(str(u.label)) for u in corpus.utterances])
    predicted = {script.CLIPS: truth[None], script.LABELS: np.zeros_like(truth)[None]}
    first, second = script._scores(corpus, predicted)
    assert first["uar"] == 1.0 and "less clips" not in first
    assert (second["uar"], second["less clips"], second["less_high"]) == (0.5, -0.5, -0.5)

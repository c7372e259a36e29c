"""Many files on several workers: the answers of one process, and a journal to go on from."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from work import DEADLY, deadly

from liser.bundle import Bundle
from liser.corpora.base import Skip
from liser.errors import InputError
from liser.runtime import Prediction, Recognizer
from liser.runtime.files import predict_files
from liser.runtime.vad import all_sound_is_speech
from liser.scale.in_process import InProcess
from liser.scale.journal import Journal
from liser.scale.pool import Backend
from liser.scale.processes import Processes


@pytest.fixture
def recognizer(bands: Bundle) -> Recognizer:
    return Recognizer(bands, detector=all_sound_is_speech)


@pytest.fixture
def names(tmp_path: Path, talk: Callable, write_wav: Callable) -> list[str]:
    """Six recordings, one file that is no media, and one that is missing."""
    (tmp_path / "notes.wav").write_text("my notes\n" * 50)
    files = [write_wav(tmp_path / f"{i}.wav", talk((0.2, 0.4 + i / 10))) for i in range(6)]
    return [str(file) for file in [*files, tmp_path / "notes.wav", tmp_path / "missing.wav"]]


def sorted_answers(answers: object, names: list[str]) -> list[Prediction | Skip]:
    found = list(answers)
    assert sorted(name for name, _ in found) == sorted(names)
    return [dict(found)[name] for name in names]


@pytest.mark.parametrize("backend", [InProcess(), Processes(2)])
def test_workers_answer_as_one_process_does(
    backend: Backend, recognizer: Recognizer, names: list[str]
) -> None:
    alone = [recognizer.predict(name) for name in names[:6]]
    found = sorted_answers(predict_files(recognizer, names, backend), names)
    assert found[:6] == alone
    assert [skip.reason for skip in found[6:]] == ["not media", "missing file"]


def test_a_journal_answers_instead_of_the_model(
    recognizer: Recognizer, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "answers.jsonl"
    with Journal(path) as journal:
        first = sorted_answers(predict_files(recognizer, names, None, journal), names)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 7  # the missing file may be there next time
    assert {line["file"] for line in lines} == set(names[:7])
    asked: list[str] = []
    predict_one = Recognizer.predict

    def counted(self: Recognizer, source: str) -> Prediction:
        asked.append(source)
        return predict_one(self, source)

    monkeypatch.setattr(Recognizer, "predict", counted)
    with Journal(path) as journal:
        again = sorted_answers(predict_files(recognizer, names, None, journal), names)
    assert asked == [names[7]]
    for one, other in zip(first, again, strict=True):
        if isinstance(one, Prediction):
            assert one.to_dict() == other.to_dict()
        else:
            assert one == other
    os.utime(names[0], (1, 1))  # it has changed
    with Journal(path) as journal:
        sorted_answers(predict_files(recognizer, names, None, journal), names)
    assert asked == [names[7], names[0], names[7]]
    with Journal(path) as journal:
        fewer = recognizer.with_labels(["neutral", "sad"])
        sorted_answers(predict_files(fewer, names[:3], None, journal), names[:3])
    assert asked[3:] == names[:3]


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a signal")
def test_a_file_that_kills_its_worker_is_named_and_not_tried_again(
    bands: Bundle, names: list[str], tmp_path: Path, write_wav: Callable
) -> None:
    sound = np.zeros(16_000)
    sound[::512] = DEADLY
    killer = str(write_wav(tmp_path / "killer.wav", sound))
    files, path = [*names[:3], killer, *names[3:6]], tmp_path / "answers.jsonl"
    recognizer = Recognizer(bands, detector=deadly)
    for _ in range(2):
        with Journal(path) as journal:
            found = sorted_answers(predict_files(recognizer, files, Processes(2), journal), files)
        assert [isinstance(answer, Prediction) for answer in found] == [True] * 3 + [False] + [
            True
        ] * 3
        assert found[3].reason == "killed its worker"
    assert len(path.read_text().splitlines()) == 7


def test_what_cannot_be_shared_out_is_refused(recognizer: Recognizer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one recording to the next"):
        list(predict_files(recognizer.for_one_speaker(), ["x"], Processes(2)))
    with (
        pytest.raises(InputError, match="one recording to the next"),
        Journal(tmp_path / "j.jsonl") as journal,
    ):
        list(predict_files(recognizer.for_one_speaker(), ["x"], None, journal))
    odd = Recognizer(recognizer.bundle, detector=lambda: all_sound_is_speech())
    with pytest.raises(InputError, match="can't be pickled"):
        list(predict_files(odd, ["x"], Processes(2)))

"""`--jobs`, `--ray`, `--shard` and `--jsonl`: the same answers, shared out and gone on with."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from liser.bundle import Bundle
from liser.scale.pool import Backend


@pytest.fixture
def voices(recordings: Path, bands: Bundle) -> Path:
    """A folder of 24 tones; `bands` is beside it as model/."""
    (recordings.parent / "model").symlink_to(bands.folder)
    return recordings


def predict(liser, *arguments: object):
    return liser("predict", "--bundle", "model", "--all-sound", *arguments)


def answers(out: str) -> list[dict[str, object]]:
    """Return the recordings of a record, without the time that each took."""
    return [{**one, "elapsed_s": 0} for one in json.loads(out)["recordings"]]


@pytest.mark.ray
def test_workers_predict_what_one_process_does(liser, voices: Path, two_actors: Backend) -> None:
    (voices / "notes.wav").write_text("my notes\n" * 50)
    alone = predict(liser, voices, "--json", "--csv", "alone.csv")
    for where in (["--jobs", 2], ["--ray", "local", "--jobs", 2]):
        ended = predict(liser, voices, *where, "--json", "--csv", "shared.csv")
        assert ended.status == 0
        assert answers(ended.out) == answers(alone.out)
        assert json.loads(ended.out)["skipped"] == json.loads(alone.out)["skipped"]
        assert Path("shared.csv").read_bytes() == Path("alone.csv").read_bytes()


def test_shards_share_the_files(liser, voices: Path) -> None:
    every = {one["file"] for one in answers(predict(liser, voices, "--json").out)}
    found: list[str] = []
    for shard in ("1/3", "2/3", "3/3"):
        ended = predict(liser, voices, "--shard", shard, "--json", "--csv", "part.csv")
        assert ended.status == 0
        found += [str(one["file"]) for one in answers(ended.out)]
    assert sorted(found) == sorted(every)
    (one,) = voices.glob("speaker0/sad-0.wav")
    statuses = [predict(liser, one, "--shard", f"{i}/2").status for i in (1, 2)]
    assert statuses == [0, 0]  # one of them has nothing to do


RUN = """
import sys, time
from liser.cli.app import main
from liser.runtime import Recognizer

predict = Recognizer.predict
def slowly(self, source):
    time.sleep(0.1)
    return predict(self, source)
Recognizer.predict = slowly
main()
"""


def test_a_killed_command_goes_on_where_it_was(liser, voices: Path) -> None:
    (voices / "notes.wav").write_text("my notes\n" * 50)
    command = ("predict", "--bundle", "model", "--all-sound", str(voices), "--jsonl", "a.jsonl")
    process = subprocess.Popen([sys.executable, "-c", RUN, *command], stdout=subprocess.DEVNULL)
    journal, began = Path("a.jsonl"), time.monotonic()
    while not journal.exists() or journal.read_bytes().count(b"\n") < 5:
        assert time.monotonic() < began + 60 and process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    before = journal.read_text().splitlines()
    ended = liser(*command, "--json", "--csv", "resumed.csv")
    lines = journal.read_text().splitlines()
    assert ended.status == 0 and lines[: len(before) - 1] == before[:-1]
    assert len({json.loads(line)["file"] for line in lines}) == len(lines) == 25
    alone = predict(liser, voices, "--json", "--csv", "alone.csv")
    assert answers(ended.out) == answers(alone.out)
    assert Path("resumed.csv").read_bytes() == Path("alone.csv").read_bytes()
    skips = [line for line in map(json.loads, lines) if "skipped" in line]
    assert [skip["skipped"]["reason"] for skip in skips] == ["not media"]


def test_a_stopped_command_says_how_to_resume(
    liser, voices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from liser.runtime import Recognizer

    predict_one, left = Recognizer.predict, iter(range(2))

    def until_stopped(self: Recognizer, source: str) -> object:
        if next(left, None) is None:
            signal.raise_signal(signal.SIGTERM)
        return predict_one(self, source)

    with monkeypatch.context() as patch:
        patch.setattr(Recognizer, "predict", until_stopped)
        ended = predict(liser, voices, "--json", "--jsonl", "a.jsonl")
    assert ended.status == 143 and "give the same command again" in ended.err
    assert len(Path("a.jsonl").read_text().splitlines()) == 2
    assert len(answers(predict(liser, voices, "--json", "--jsonl", "a.jsonl").out)) == 24


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--shard", "3/2"], "give 1/8 for the first of eight"),
        (["--jsonl", "model"], "is a folder"),
        (["--jsonl", "few.csv"], "is not a .jsonl file"),
        (["--jsonl", "others.jsonl"], "other lines than a journal"),
        (["--one-speaker", "--jobs", "2"], "one recording to the next"),
        (["-", "--jobs", "2"], "standard input has one reader"),
        (["--ray", "ray://head:10001"], "give HOST:6379"),
    ],
)
def test_what_cannot_be_meant_is_refused(liser, voices: Path, flags: list[str], words: str) -> None:
    Path("others.jsonl").write_text('{"mine": 1}\n')
    ended = predict(liser, voices, *flags)
    assert ended.status == 2 and words in ended.err
    assert Path("others.jsonl").read_text() == '{"mine": 1}\n'


def test_ray_is_asked_for_by_its_extra(
    liser, voices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liser.scale.ray_actors.find_spec", lambda _: None)
    for ended in (
        predict(liser, voices, "--ray", "auto"),
        liser("teach", voices, "--speech-teacher", "opensmile", "--ray", "auto"),
    ):
        assert ended.status == 2 and "ray is not installed: pip install 'liser[scale]'" in ended.err


def test_prediction_on_workers_needs_no_extra(voices: Path) -> None:
    """Neither torch, nor Ray, nor anything else that the base install lacks."""
    extras = ("torch", "ray", "joblib", "fsspec", "scipy", "sklearn", "pandas", "cv2")
    code = f"import sys; sys.modules.update(dict.fromkeys({extras!r})); RUN"
    code = code.replace("RUN", "from liser.__main__ import main; main()")
    command = ("predict", "--bundle", "model", str(voices), "--jobs", "2", "--json")
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["recordings"]) == 24


def test_teachers_on_workers_and_in_shards_fill_one_store(liser, voices: Path) -> None:
    pytest.importorskip("opensmile")
    ask = ("teach", voices, "--speech-teacher", "opensmile", "--json")
    (alone,) = json.loads(liser(*ask, "--store", "alone").out)["teachers"]
    shards = [
        json.loads(liser(*ask, "--store", "shared", "--shard", f"{i}/2", "--jobs", i).out)
        for i in (1, 2)
    ]
    assert sum(record["clips"] for record in shards) == 24
    assert sum(record["teachers"][0]["computed"] for record in shards) == 24
    assert [record["shard"] for record in shards] == ["1/2", "2/2"]
    (every,) = json.loads(liser(*ask, "--store", "shared").out)["teachers"]
    assert (every["computed"], every["clips"]) == (0, alone["clips"])
    empty = json.loads(liser(*ask, "--store", "other", "--shard", "7/9999").out)
    assert (empty["clips"], empty["teachers"]) == (0, [])


def test_a_store_may_be_a_url(liser, recordings: Path) -> None:
    pytest.importorskip("fsspec")
    ask = ("teach", recordings, "--speech-teacher", "opensmile", "--json")
    first, second = (json.loads(liser(*ask, "--store", "memory://teach/a").out) for _ in range(2))
    assert (first["teachers"][0]["computed"], second["teachers"][0]["computed"]) == (24, 0)
    assert first["store"] == "memory://teach/a" and not Path("memory:").exists()
    refused = liser("pretrain", recordings, "--encoder", "x", "--store", "s3://a/b", "--out", "b")
    assert refused.status == 2 and "need a folder" in refused.err


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks into /proc")
def test_a_killed_worker_is_replaced(voices: Path) -> None:
    """Its file is predicted by another one."""
    code = RUN.replace("time.sleep(0.1)", "pass")
    command = ("predict", "--bundle", "model", "--all-sound", str(voices), "--jobs", "2")
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command, "--csv", "t.csv"], stdout=subprocess.DEVNULL
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    killed: set[str] = set()
    while process.poll() is None and len(killed) < 2:
        for pid in children.read_text().split() if children.exists() else ():
            line = Path(f"/proc/{pid}/cmdline")
            if pid not in killed and line.exists() and b"spawn_main" in line.read_bytes():
                os.kill(int(pid), signal.SIGKILL)
                killed.add(pid)
                break
        time.sleep(0.3)
    assert process.wait(60) == 0 and killed
    with Path("t.csv").open(newline="") as file:
        assert sum(row["part"] == "0" for row in csv.DictReader(file)) == 24

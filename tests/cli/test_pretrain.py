"""`liser pretrain` on a tiny corpus, then `distill --backbone`; going on, and refusals."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from liser import storage
from liser.errors import StorageError

pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("heir")

SETTINGS = """weight_transfer_clips = 6
updates = 4
batch_size = 4
crop_s = 0.4
components = 8
precision = "float32"
device = "cpu"
"""
QUICK = ("--student", "heir", "--settings", "pretraining.toml", "--store", "targets")


@pytest.fixture
def ask(recordings: Path, whisper: Path) -> tuple[object, ...]:
    Path("pretraining.toml").write_text(SETTINGS)
    return ("pretrain", recordings, "--encoder", whisper, *QUICK)


def test_a_backbone_and_then_a_student(liser, ask: tuple[object, ...], recordings: Path) -> None:
    (recordings / "speaker0" / "broken.wav").write_bytes(b"not a wav file")
    first = liser(*ask, "--out", "backbone", "--json")
    record = json.loads(first.out)
    assert record["clips"] == {"recordings": 24}
    assert (record["student"], record["encoder"]) == ("heir", "tiny-whisper")
    assert [s["clips"] for s in record["skipped"]] == [1]
    assert "broken" in record["skipped"][0]["example"]
    assert record["settings"]["updates"] == 4
    assert sorted(f.name for f in Path("backbone").iterdir()) == [
        "backbone.json",
        "backbone.safetensors",
    ]
    assert len(list(Path("targets").rglob("*.npy"))) == 24

    labelled = ("--labels", "few.csv", "--settings", "few.toml", "--valid-speakers", 0)
    Path("few.toml").write_text("[training]\nupdates = 2\nbatch_size = 4\nupdates_a_round = 2\n")
    ended = liser("distill", recordings, "--backbone", "backbone", *labelled, "--out", "student")
    assert ended.status == 0, ended.err
    made = json.loads(Path("student/student.json").read_text())
    assert made["student"] == "heir", "the backbone's student is the default"
    backbone = json.loads(Path("backbone/backbone.json").read_text())
    assert made["frontend"] == backbone["frontend"]
    assert made["provenance"]["backbone"]["encoder"] == "tiny-whisper"

    ask_plain = ("distill", recordings, "--student", "heir", *labelled)
    assert liser(*ask_plain, "--out", "plain").status == 0
    other = liser(*ask_plain, "--out", "student")
    assert other.status == 2, "without its backbone this is another student"
    weights = [Path(name, "student.safetensors").read_bytes() for name in ("student", "plain")]
    assert weights[0] != weights[1]


def test_further_encoders_are_learnt_from(
    liser, ask: tuple[object, ...], write_encoder: Callable[..., Path]
) -> None:
    model = write_encoder(name="toy.onnx")
    two = ("--encoder", f"{model}:outputs=low")
    record = json.loads(liser(*ask, *two, "--out", "backbone", "--json").out)
    assert record["encoder"] == "tiny-whisper"
    (further,) = record["further_encoders"]
    assert (further["encoder"], further["clips"]) == ("toy", {"recordings": 24})
    assert len(list(Path("targets").rglob("*.npy"))) == 48
    people = liser(*ask, *two, "--out", "again")
    assert people.status == 0
    for words in ("tiny-whisper", "encoder 2", "toy", "frames of 24 clips of recordings"):
        assert words in people.out
    first = liser("pretrain", ask[1], *two, "--encoder", ask[3], *QUICK, "--out", "other")
    assert first.status == 2
    assert "the first encoder must be a Whisper model" in first.err
    unknown = liser(*ask, "--encoder", f"{model}:outputs=h3", "--out", "other")
    assert unknown.status == 2
    assert "no output 'h3'" in unknown.err
    assert "low (batch, frames, 3)" in unknown.err


def test_people_read_what_was_inherited(liser, ask: tuple[object, ...], recordings: Path) -> None:
    (recordings / "speaker0" / "broken.wav").write_bytes(b"not a wav file")
    ended = liser(*ask, "--out", "backbone")
    assert ended.status == 0, ended.err
    for words in ("tiny-whisper", "24 clips of recordings", "saved to", "backbone", "broken"):
        assert words in ended.out


def test_every_stage_is_counted(
    liser, ask: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liser.text.progress.LINE_EVERY_S", 0)
    ended = liser(*ask, "--out", "backbone")
    assert ended.status == 0
    for stage in ("extracting features", "frames of tiny-whisper"):
        for done in range(25):
            assert f"{stage}: {done} of 24" in ended.err
    assert "of tiny-whisper explained: 1 of 1" in ended.err


def test_several_corpora_may_be_used(liser, ask: tuple[object, ...], recordings: Path) -> None:
    verb, *rest = ask
    record = json.loads(liser(verb, recordings / "speaker1", *rest, "--out", "t", "--json").out)
    assert sum(record["clips"].values()) == 28


def test_a_finished_backbone_is_not_overwritten(liser, ask: tuple[object, ...]) -> None:
    assert liser(*ask, "--out", "backbone").status == 0
    before = Path("backbone/backbone.safetensors").stat().st_mtime_ns
    ended = liser(*ask, "--out", "backbone")
    assert ended.status == 2
    assert "holds a backbone already" in ended.err
    assert Path("backbone/backbone.safetensors").stat().st_mtime_ns == before


def test_a_second_process_is_refused_while_the_first_one_works(
    liser, ask: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path("backbone")
    out.mkdir()
    with storage.held(out), monkeypatch.context() as patch:
        patch.setattr("liser.pretraining.segments.segment_sources", None)  # no work is begun
        ended = liser(*ask, "--out", out)
    assert ended.status == 1 and "another process is at work on backbone" in ended.err
    from liser.pretraining.train import pretrain

    def first(*rest: Any, **more: Any) -> Any:
        with pytest.raises(StorageError), storage.held(out, wait=False):
            pass
        return pretrain(*rest, **more)

    monkeypatch.setattr("liser.pretraining.train.pretrain", first)
    assert liser(*ask, "--out", out).status == 0
    with storage.held(out, wait=False):
        assert (out / "backbone.json").exists()


def test_a_stopped_run_ends_where_an_unbroken_one_does(
    liser, ask: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liser.pretraining.train.ROUND", 2)
    assert liser(*ask, "--out", "unbroken").status == 0

    class Stops:
        def advance(self) -> None: ...

        def update(self, done: int, total: int | None, what: str) -> None:
            raise KeyboardInterrupt  # the training is the only task that is updated

    @contextmanager
    def stops() -> Iterator[Any]:
        yield lambda what, total: Stops()

    with monkeypatch.context() as patch:
        patch.setattr("liser.text.progress.show_progress", stops)
        assert liser(*ask, "--out", "broken").status == 130
    assert [f.name for f in Path("broken").iterdir()] == ["checkpoint.pt"]
    other = liser(*ask, "--seed", 1, "--out", "broken")
    assert other.status == 2
    assert "made with other settings" in other.err
    assert liser(*ask, "--out", "broken").status == 0
    for name in ("backbone.safetensors", "backbone.json"):
        assert Path("broken", name).read_bytes() == Path("unbroken", name).read_bytes()
    assert not Path("broken/checkpoint.pt").exists()


def test_ctrl_c_ends_with_130_and_a_checkpoint(recordings: Path, whisper: Path) -> None:
    Path("pretraining.toml").write_text(SETTINGS.replace("updates = 4", "updates = 100000"))
    code = (
        # a shell's background job, such as these tests may be, has its children ignore Ctrl-C
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from liser.students.registry import STUDENTS\n"
        "from liser.students.transformer import Transformer\n"
        "STUDENTS['heir'] = lambda c, m: Transformer(c, m, (8, 8), 16, 1, 8, 2, 8)\n"
        "import liser.pretraining.train\n"
        "liser.pretraining.train.ROUND = 2\n"
        "from liser.cli.app import main; main()"
    )
    ask = ("pretrain", "recordings", "--encoder", str(whisper), *QUICK, "--out", "made")
    process = subprocess.Popen([sys.executable, "-c", code, *ask], stderr=subprocess.PIPE)
    patience = time.monotonic() + 60
    while not Path("made/checkpoint.pt").exists() and time.monotonic() < patience:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert b"Traceback" not in text
    assert b"give the same command again" in text
    assert Path("made/checkpoint.pt").exists()


def test_what_cannot_be_done_is_refused_first(
    liser, ask: tuple[object, ...], monkeypatch: pytest.MonkeyPatch, recordings: Path
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("it worked")

    monkeypatch.setattr("liser.students.features.extract_features", never)
    Path("wrong.toml").write_text("epochs = 3\n")
    for change, words in (
        (("--student", "tiny"), "transferred to a 'tiny' student: choose 'small' or 'base'"),
        (("--student", "huge"), "no student is called 'huge'"),
        (("--encoder", recordings), "config.json"),
        (("--updates", 0), "updates = 0"),
        (("--settings", "wrong.toml"), "epochs = 3"),
    ):
        ended = liser(*ask, *change, "--out", "backbone")
        assert ended.status == 2, ended.err
        assert words in ended.err


def test_distill_refuses_a_backbone_of_another_kind(
    liser, ask: tuple[object, ...], recordings: Path
) -> None:
    assert liser(*ask, "--out", "backbone").status == 0
    plain = ("distill", recordings, "--labels", "few.csv", "--backbone", "backbone", "--out", "s")
    Path("other.toml").write_text("[frontend]\nhop_ms = 11.0\n")
    for change, words in (
        (("--student", "tiny"), "the backbone is for a student 'heir', this one is 'tiny'"),
        (("--settings", "other.toml"), "this student's has hop_ms = 11.0"),
        (("--backbone", "nowhere"), "no backbone in nowhere"),
    ):
        ended = liser(*plain, *change)
        assert ended.status == 2
        assert words in ended.err
    assert not Path("s").exists()

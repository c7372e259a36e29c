"""`liser benchmark`: a record that names no folder of this machine, and refusals."""

import json
import sys
from pathlib import Path

import pytest

from liser.benchmark.defaults import protocol_for
from liser.cli.benchmark import _protocol
from liser.cli.command import portable
from liser.cli.settings import settings_from
from liser.config import Protocol
from liser.corpora import cremad
from liser.students.frontend import stride_within

TAUGHT = ("--speech-teacher", "teacher.csv", "--face-teacher", "teacher.csv")


def manifest() -> Path:
    rows = [line.split(",") for line in Path("few.csv").read_text().split()]
    lines = ["path,label,speaker"]
    lines += [f"recordings/{path},{label},{path.split('/')[0]}" for path, label in rows[1:]]
    Path("tiny.csv").write_text("\n".join(lines))
    Path("named.csv").write_text(
        Path("teacher.csv").read_text().replace("speaker", "recordings/speaker")
    )
    Path("bench.toml").write_text(
        "speakers_per_fold = 3\nvalid_speakers = 1\n"
        "[supervised]\nbatch_size = 4\n"
        "[distillation.training]\nbatch_size = 4\n"
        "[distillation.heads]\ncomponents = 2\n"
    )
    return Path("tiny.csv")


@pytest.mark.parametrize(
    "given, expected",
    [
        ({}, (3, (0.05, 0.1, 0.2, 1.0))),
        ({"quick": True}, (1, (0.1, 1.0))),
        ({"quick": True, "draws": 2, "budgets": "0.5"}, (2, (0.5,))),
    ],
)
def test_a_quick_run_has_one_draw_of_few_labels_and_of_all(given, expected) -> None:
    names = ("draws", "budgets", "speakers_per_fold", "folds", "seed", "student", "updates")
    flags = dict.fromkeys((*names, "settings"), None) | {"quick": False, "corpus": "folder"}
    made = _protocol(flags | given)
    assert (made.draws, made.budgets) == expected


def test_the_protocol_on_a_tiny_corpus(liser, recordings: Path) -> None:
    data = manifest().absolute()
    teacher = Path("named.csv").absolute()
    ask = (
        *("benchmark", "folder", "--data", data, "--settings", "bench.toml", "--jobs", 1),
        *("--speech-teacher", teacher, "--face-teacher", "table:named.csv", "--student", "tiny"),
        *("--updates", 2, "--quick", "--budgets", "0.5,1", "--report", "page.html"),
    )
    record = json.loads(liser(*ask, "--json").out)
    assert json.loads(Path("runs/benchmark-folder/results.json").read_text()) == record
    assert str(recordings.parent) not in Path("runs/benchmark-folder/results.json").read_text()
    assert record["command"].startswith("liser benchmark folder --data ")
    assert f"{data.parent.name}/tiny.csv" in record["command"]
    assert "--face-teacher table:named.csv" in record["command"]
    assert record["settings"]["supervised"]["updates"] == 2
    assert record["settings"]["distillation"]["training"]["updates"] == 2
    budgets = {(row["system"], row["labels"]) for row in record["rows"]}
    assert {("distilled", 0.5), ("scratch", 1.0), ("distilled_face", 0.5)} <= budgets
    scored = {one["system"] for one in record["baselines"]}
    missing = {one["system"] for one in record["left_out"]}
    assert scored | missing == {"opensmile_svm"} and not scored & missing
    assert (("opensmile_svm", 1.0) in budgets) == bool(scored)
    assert Path("runs/benchmark-folder").is_dir()
    again = liser(*ask)
    assert again.status == 0
    assert "Distilled student" in again.out
    assert record["settings"]["draws"] == 1 and "A quick run: one draw" in again.err
    assert Path("page.html").exists()


def test_refusals(liser, recordings: Path) -> None:
    manifest()
    ask = ("benchmark", "folder", "--data", "tiny.csv", "--settings", "bench.toml", "--jobs", 1)
    named = ("--speech-teacher", "named.csv", "--face-teacher", "named.csv")
    header, *rows = Path("tiny.csv").read_text().split()
    Path("one.csv").write_text("\n".join([header, *(r for r in rows if "speaker0" in r)]))
    for arguments, words in (
        (ask, "needs teachers"),
        ((*ask, *named, "--budgets", "0.01"), "fewer than the 2 classes"),
        ((*ask, *named, "--budgets", "x"), "--budgets 'x'"),
        ((*ask, *named, "--budgets", "2"), "budgets.0 = 2.0"),
        ((*ask, *named, "--draws", "0"), "draws = 0"),
        ((*ask, *named, "--student", "huge"), "huge"),
        (("benchmark", "iemocap", "--data", "tiny.csv", *named), "iemocap"),
        (("benchmark", "folder", "--data", "one.csv", *named), "1 speakers"),
    ):
        ended = liser(*arguments)
        assert ended.status == 2, ended.err
        assert words in ended.err


def test_a_baseline_that_is_named_needs_its_package(
    liser, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest()
    monkeypatch.setitem(sys.modules, "opensmile", None)
    monkeypatch.delitem(sys.modules, "liser.teachers.opensmile", raising=False)
    named = Path("bench.toml")
    named.write_text('systems = ["opensmile_svm"]\n' + named.read_text())
    teachers = ("--speech-teacher", "named.csv", "--face-teacher", "named.csv")
    ended = liser("benchmark", "folder", "--data", "tiny.csv", "--settings", named, *teachers)
    assert ended.status == 2
    assert "opensmile is not installed: pip install 'liser[teachers]'" in ended.err


def test_only_the_end_of_an_absolute_path_is_recorded() -> None:
    assert portable("/home/me/data/ravdess") == "data/ravdess"
    assert portable("table:/home/me/aus.csv") == "table:me/aus.csv"
    assert portable("votes:/home/me/v.csv:shown=face") == "votes:me/v.csv:shown=face"
    assert portable("../data/ravdess") == "../data/ravdess"
    net = "/home/me/nets/a=b/mine.onnx:spec=/home/me/mine.json,detector=yunet:/home/me/yunet.onnx"
    assert portable(net) == "a=b/mine.onnx:spec=me/mine.json,detector=yunet:me/yunet.onnx"


def test_a_modality_may_have_several_teachers(liser, recordings: Path) -> None:
    data = manifest()
    rows = Path("named.csv").read_text().split()[1:]
    votes = ["clip,shown,angry,sad"]
    for row in rows:
        name = row.split(",")[0]
        counts = "3,1" if "angry" in name else "1,3"
        votes += [f"{name},face,{counts}", f"{name},voice,2,2"]
    Path("votes.csv").write_text("\n".join(votes))
    with Path("bench.toml").open("a") as file:
        file.write('[command]\nface_teacher = ["named.csv", "votes:votes.csv:shown=face"]\n')
    ask = ("benchmark", "folder", "--data", data, "--settings", "bench.toml", "--jobs", 1)
    ask += ("--speech-teacher", "named.csv", "--student", "tiny", "--updates", 2)
    ask += ("--draws", 1, "--budgets", "1", "--json")
    faces = ("--face-teacher", "named.csv", "--face-teacher", "votes:votes.csv:shown=face")
    named = [(t["modality"], t["name"]) for t in json.loads(liser(*ask, *faces).out)["teachers"]]
    assert named == [
        ("speech", "table-named"),
        ("face", "table-named"),
        ("face", "table-votes-shown=face"),
    ]
    record = json.loads(liser(*ask).out)  # the settings file's own list
    assert [(t["modality"], t["name"]) for t in record["teachers"]] == named
    again = json.loads(liser(*ask, *faces).out)["command"]
    assert "--face-teacher named.csv --face-teacher votes:votes.csv:shown=face" in again


def test_cremad_has_a_protocol_of_its_own_which_flags_and_files_change(tmp_path: Path) -> None:
    def settled(corpus: str, file: str = "", **flags: int) -> Protocol:
        path = tmp_path / "settings.toml"
        path.write_text(file)
        return protocol_for(corpus, settings_from(Protocol, path, flags, {}))

    plain = settled("cremad")
    assert (plain.folds, plain.speakers_per_fold, plain.valid_speakers) == (5, None, 6)
    assert stride_within(plain.distillation.frontend, cremad.STORED_FRONTEND) == 1
    assert settled("ravdess") == Protocol()
    by_flag = settled("cremad", speakers_per_fold=4, valid_speakers=3)
    assert (by_flag.folds, by_flag.speakers_per_fold, by_flag.valid_speakers) == (None, 4, 3)
    assert settled("cremad", "speakers_per_fold = 9").folds is None
    tuned = settled("cremad", "[distillation.training]\nupdates = 7")
    assert tuned.distillation.training.updates == 7
    assert tuned.distillation.frontend == plain.distillation.frontend


def test_distilled_students_may_start_from_a_backbone(
    liser, recordings: Path, heir: str, whisper: Path
) -> None:
    manifest()
    rows = Path("tiny.csv").read_text().split()[1:]
    Path("talk").mkdir()
    Path("talk/others.csv").write_text(
        "\n".join(["path,speaker", *(f"../{r.split(',')[0]},x{r.split(',')[2]}" for r in rows[:8])])
    )
    pretraining = "[pretraining]\nweight_transfer_clips = 6\nupdates = 2\nbatch_size = 4\n"
    Path("bench.toml").write_text(
        'systems = ["scratch", "distilled"]\n' + Path("bench.toml").read_text() + pretraining
    )
    others = Path("talk/others.csv").absolute()
    ask = (
        *("benchmark", "folder", "--data", "tiny.csv", "--settings", "bench.toml", "--jobs", 1),
        *("--speech-teacher", "named.csv", "--face-teacher", "named.csv", "--student", heir),
        *("--updates", 30, "--draws", 1, "--budgets", "1", "--json"),
    )
    ended = liser(*ask, "--encoder", whisper, "--also", f"folder:{others}")
    assert ended.status == 0, ended.err
    record = json.loads(ended.out)
    assert len(record["backbones"]) == 2
    assert sorted(record["backbones"][0]["clips"].values()) == [8, 12]
    assert f"--also folder:talk/{others.name}" in record["command"]
    assert f"--encoder {whisper.parent.name}/{whisper.name}" in record["command"]
    assert str(recordings.parent) not in Path("runs/benchmark-folder/results.json").read_text()
    for more, words in (
        (("--also", f"folder:{others}"), "give --encoder as well"),
        (("--encoder", whisper, "--also", "talk"), "--also 'talk' is not of the form cremad:DIR"),
        (("--encoder", whisper, "--also", "radio:talk"), "no corpus 'radio'"),
        (("--encoder", whisper, "--also", "folder:tiny.csv"), "test speakers must stay unheard"),
        (("--encoder", whisper, "--student", "tiny"), "transferred to a 'tiny' student"),
        (("--encoder", whisper, "--encoder", whisper), "tiny-whisper is given twice"),
    ):
        ended = liser(*ask, *more)
        assert ended.status == 2, ended.err
        assert words in ended.err

"""`liser finetune` and `liser evaluate`: a student trained once, scored on other speakers."""

import csv
import json
from pathlib import Path

import pytest

SETTINGS = ("--settings", "settings.toml")


@pytest.fixture
def student(liser, recordings: Path) -> Path:
    """A student of the first four speakers; the other two are moved to others/."""
    for who in ("speaker4", "speaker5"):
        Path("others").mkdir(exist_ok=True)
        (recordings / who).rename(Path("others") / who)
    ended = liser("distill", recordings, "--labels", "few.csv", *SETTINGS, "--out", "student")
    assert ended.status == 0, ended.err
    return Path("student")


def test_evaluate_writes_record_page_and_predictions(liser, student: Path) -> None:
    ask = ("evaluate", student, "others", "--labels", "few.csv")
    ended = liser(*ask, "--report", "page.html", "--predictions", "clips.csv", "--json")
    record = json.loads(ended.out)
    (row,) = record["rows"]
    assert 0 <= row["uar_low"] <= row["uar"] <= row["uar_high"] <= 1
    assert row["system"] == "student"
    assert record["clips"] == 8
    assert sum(map(sum, row["confusion"])) == 8
    assert "<html" in Path("page.html").read_text()
    with Path("clips.csv").open() as file:
        predictions = list(csv.DictReader(file))
    assert len(predictions) == 8
    assert float(predictions[0]["p_angry"]) + float(predictions[0]["p_sad"]) == pytest.approx(
        1, abs=1e-3
    )
    right = sum(clip["predicted"] == clip["label"] for clip in predictions) / 8
    assert right == pytest.approx(row["wa"])
    printed = liser(*ask)
    assert "UAR" in printed.out
    assert "label of no clip" in printed.out


def test_speakers_it_was_trained_on_are_refused(liser, student: Path) -> None:
    ask = ("evaluate", student, "recordings", "--labels", "few.csv")
    refused = liser(*ask)
    assert refused.status == 2
    assert "--allow-seen-speakers" in refused.err
    allowed = liser(*ask, "--allow-seen-speakers")
    assert allowed.status == 0
    assert "trained on 4 of these speakers" in allowed.out


def test_without_labels_there_are_predictions_only(liser, student: Path) -> None:
    ended = liser("evaluate", student, "others", "--json")
    record = json.loads(ended.out)
    assert record["rows"] == []
    assert len(record["predictions"]) == 8
    assert "predictions of 8 clips" in liser("evaluate", student, "others").out
    assert liser("evaluate", student, "others", "--report", "page.html").status == 2


def test_speakers_of_fine_tuning_count_as_seen(liser, student: Path) -> None:
    ask = ("finetune", student, "others", "--labels", "few.csv", "--out", "tuned", "--updates", "2")
    record = json.loads(liser(*ask, "--json").out)
    assert record["speakers"] == ["speaker4", "speaker5"]
    assert record["labelled"] == 8
    assert liser(*ask).status == 0  # it is there already
    refused = liser("evaluate", "tuned", "others", "--labels", "few.csv")
    assert refused.status == 2
    assert "speaker4" in refused.err
    before = Path(student / "student.safetensors").read_bytes()
    assert Path("tuned/student.safetensors").read_bytes() != before


def test_fine_tuning_settings_are_those_of_training(liser, student: Path) -> None:
    Path("tune.toml").write_text("updates = 2\nupdates_a_round = 1\n")
    ask = ("finetune", student, "others", "--labels", "few.csv", "--settings", "tune.toml")
    assert liser(*ask, "--out", "tuned").status == 0
    (tuned,) = json.loads(Path("tuned/student.json").read_text())["provenance"]["finetuned"]
    assert tuned["training"]["updates"] == 2
    assert tuned["training"]["learning_rate"] == pytest.approx(2e-4)


def test_refusals(liser, student: Path) -> None:
    Path("odd.csv").write_text("id,label\nspeaker4/sad-0,sad\nspeaker4/sad-1,bored\n")
    for arguments, words in (
        (["evaluate", "nowhere", "others"], "no student in nowhere"),
        (["evaluate", student, "nowhere"], "check the path"),
        (["evaluate", student, "others", "--labels", "odd.csv"], "at least two common classes"),
        (["finetune", student, "others", "--out", "tuned"], "at least two are needed"),
        (["finetune", student, "others", "--out", student], "is the student itself"),
        (
            ["finetune", student, "others", "--labels", "odd.csv", "--out", "tuned"],
            "can't learn bored",
        ),
    ):
        ended = liser(*arguments)
        assert ended.status == 2, ended.err
        assert words in ended.err


def test_robustness_stands_in_record_page_and_table(liser, student: Path) -> None:
    ask = ("evaluate", student, "others", "--labels", "few.csv", "--robustness", "cut-1s,telephone")
    ended = liser(*ask, "--threshold", "0.5", "--report", "page.html", "--json")
    assert ended.status == 0, ended.err
    record = json.loads(ended.out)
    conditions = record["robustness"]["conditions"]
    assert [row["condition"] for row in conditions] == ["clean", "telephone", "cut-1s"]
    assert conditions[0]["uar"] == record["rows"][0]["uar"]
    cut = conditions[2]  # no clip is longer
    assert set(cut["change"].values()) == {0.0}
    assert all(row["coverage"] == 1.0 for row in conditions)  # of two emotions
    page = Path("page.html").read_text()
    assert "Degraded sound" in page
    assert "300–3400 Hz at 8 kHz" in page
    assert 'id="robustness-title"' in page
    printed = liser(*ask)
    assert "telephone" in printed.out
    assert "Answered" not in printed.out


def test_the_bundled_model_is_evaluated_by_its_name(here: Path) -> None:
    from liser.cli.evaluate import _loaded
    from liser.runtime import DEFAULT, Recognizer

    made = _loaded(Path("default"))
    assert isinstance(made, Recognizer)
    assert made.bundle.folder == DEFAULT


def test_what_cannot_be_degraded_is_refused_before_any_work(liser, student: Path) -> None:
    for arguments, words in (
        (["--labels", "few.csv", "--robustness", "gale"], "there is no degradation 'gale'"),
        (["--robustness", "all"], "is labelled, so there is nothing to score"),
        (["--labels", "few.csv", "--threshold", "0.5"], "add --robustness all"),
        (["--labels", "few.csv", "--robustness", "cut-1s", "--threshold", "7"], "in 0…1"),
    ):
        ended = liser("evaluate", student, "others", *arguments)
        assert ended.status == 2, ended.err
        assert words in ended.err

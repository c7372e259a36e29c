import copy
import functools
import io
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from liser import metrics
from liser.errors import InputError, StorageError
from liser.labels import RAVDESS
from liser.report import figures
from liser.report.benchmark import headline, report, table
from liser.report.robustness import robustness_note, robustness_table

SKILL = {  # how often a system is right with 5, 10, 20 and 100 % of the labels; made up
    "scratch": (0.34, 0.43, 0.52, 0.66),
    "distilled": (0.55, 0.62, 0.66, 0.72),
    "distilled_speech": (0.49, 0.56, 0.61, 0.70),
    "distilled_face": (0.45, 0.52, 0.58, 0.68),
    "teacher_speech": (0.49, 0.58, 0.66, 0.76),
    "teacher_face": (0.46, 0.51, 0.55, 0.60),
    "teacher_av": (0.62, 0.69, 0.77, 0.84),
}
BUDGETS = (0.05, 0.1, 0.2, 1.0)
SPEAKERS = [f"{i:02d}" for i in range(1, 21)]


@functools.cache
def _made_up() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    classes = len(RAVDESS)
    speakers = np.repeat(SPEAKERS, 56)
    truth = np.tile(np.arange(56) % classes, len(SPEAKERS))
    ease = rng.normal(0, 0.06, len(SPEAKERS)).repeat(56)
    rows = []
    for system, skills in SKILL.items():
        for budget, skill in zip(BUDGETS, skills, strict=True):
            right = rng.random((3, len(truth))) < skill + ease
            guess = rng.integers(0, classes, (3, len(truth)))
            posteriors = np.eye(classes)[np.where(right, truth, guess)] * 0.6 + 0.05
            scores = metrics.summary(posteriors, truth, speakers, rng=rng, resamples=100)
            scores |= {"system": system, "labels": budget, "params": 312_456, "seeds": [0, 1, 2]}
            scores["by_sex"] = {"female": scores["uar"] + 0.01, "male": scores["uar"] - 0.01}
            rows.append(scores)
    shown = truth[:400]
    return {
        "corpus": "ravdess",
        "label_kind": "intended",
        "labels": list(RAVDESS),
        "synthetic": False,
        "command": "liser benchmark ravdess --data DIR",
        "date": "2025-01-02",
        "versions": {"liser": "0.1.0", "numpy": "2.0"},
        "settings": {"student": "small", "temperature": 2.0, "losses": {"kd": 1.0, "ce": 1.0}},
        "wall_time_s": 2520.4,
        "peak_memory_mb": 1801.2,
        "folds": [
            {"index": i, "test": SPEAKERS[4 * i : 4 * i + 4], "valid": ["x"], "train": ["y"]}
            for i in range(5)
        ],
        "clips": 1200,
        "speakers": 20,
        "skipped": [{"id": "01-01<b>", "reason": "no face", "detail": "none in 30 frames"}],
        "rows": rows,
        "comparisons": [
            {
                "name": "Are 10 % of the labels enough?",
                "system_a": "distilled",
                "labels_a": 0.1,
                "system_b": "scratch",
                "labels_b": 1.0,
                "kind": "ratio",
                "value": 0.947,
                "low": 0.91,
                "high": 0.985,
                "bar": 0.95,
            },
            {
                "name": "Does the face help?",
                "system_a": "distilled",
                "labels_a": 0.1,
                "system_b": "distilled_speech",
                "labels_b": 0.1,
                "kind": "difference",
                "value": 0.058,
                "low": -0.002,
                "high": 0.081,
            },
        ],
        "embedding_map": {
            "x": (np.cos(shown) * 4 + rng.normal(0, 1, 400)).tolist(),
            "y": (np.sin(shown) * 4 + rng.normal(0, 1, 400)).tolist(),
            "label": [RAVDESS[i] for i in shown],
            "speaker": speakers[:400].tolist(),
            "system": "distilled",
        },
    }


@pytest.fixture
def results() -> dict[str, Any]:
    return copy.deepcopy(_made_up())


class Page(HTMLParser):
    """The page as a browser reads it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.opened if name == tag]


def page_of(results: dict[str, Any], folder: Path) -> Page:
    report(results, folder / "report.html")
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_the_page_shows_every_part(results: dict[str, Any], tmp_path: Path) -> None:
    page = page_of(results, tmp_path)
    assert len(page.all("svg")) == 3
    for row in results["rows"]:
        assert f"{row['uar']:.3f} ({row['uar_low']:.3f}–{row['uar_high']:.3f})" in page.words
    for words in ("0.947 (0.910–0.985)", "≥ 0.95: not reached", "0.058 (−0.002 to 0.081)"):
        assert words in page.words
    for words in ("no face", "01-01<b>", "--data DIR", "temperature", "intended", "2025-01-02"):
        assert words in page.words
    assert "synthetic" not in page.words.lower()


def test_the_page_needs_nothing_else(results: dict[str, Any], tmp_path: Path) -> None:
    page = page_of(results, tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    namespaces = ("http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg")
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= set(namespaces)
    assert not page.all("script") and not page.all("img")
    for tag, attributes in page.opened:
        for name in ("src", "href", "xlink:href"):
            target = attributes.get(name) or "#"
            assert target.startswith(("#", "data:")), (tag, target)


def test_the_page_can_be_read_aloud(results: dict[str, Any], tmp_path: Path) -> None:
    page = page_of(results, tmp_path)
    ids = [attributes["id"] for _, attributes in page.opened if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.opened:
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids, tag
    assert all(svg["role"] == "img" for svg in page.all("svg"))
    assert all("scope" in heading for heading in page.all("th"))
    assert page.all("html") == [{"lang": "en"}]


def test_the_same_results_give_the_same_page(results: dict[str, Any], tmp_path: Path) -> None:
    report(results, tmp_path / "a.html")
    report(copy.deepcopy(results), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_synthetic_data_are_called_so_in_every_title_and_caption(
    results: dict[str, Any], tmp_path: Path
) -> None:
    page_of(results | {"synthetic": True}, tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    captions = re.findall(r"<(?:caption|figcaption|title|h1)\b.*?</", text, flags=re.S)
    captions = [words for words in captions if "id=" not in words]  # figures' titles repeat them
    assert len(captions) > 8
    assert all("synthetic" in words.lower() for words in captions)
    assert "synthetic" in str(table(results | {"synthetic": True}).title)
    assert "synthetic" in headline(results | {"synthetic": True})


def with_robustness(results: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The record with scores on clean and on telephone sound."""
    clean = {"condition": "clean", "description": "as recorded", "clips": 1120, "lost": 0}
    for metric, value in (("uar", 0.62), ("wa", 0.63), ("ece", 0.05)):
        clean |= {metric: value, f"{metric}_low": value - 0.04, f"{metric}_high": value + 0.04}
    moved = {"uar": -0.07, "uar_low": -0.09, "uar_high": -0.05}
    moved |= {"wa": -0.06, "wa_low": -0.08, "wa_high": -0.04}
    moved |= {"ece": 0.02, "ece_low": -0.01, "ece_high": 0.03}
    line = clean | {
        "condition": "telephone",
        "description": "a <thin> band",
        "uar": 0.55,
        "change": moved,
    }
    line |= {"clips": 1117, "lost": 3, "uar_low": 0.51, "uar_high": 0.59}
    found = {"threshold": None, "seed": 0, "conditions": [clean, line], "skipped": []}
    return results | {"robustness": found | more}


def test_degraded_sound_is_beside_clean(results: dict[str, Any], tmp_path: Path) -> None:
    page = page_of(with_robustness(results), tmp_path)
    assert len(page.all("svg")) == 4
    for words in ("0.550 (0.510–0.590)", "−0.070 (−0.090 to −0.050)", "+0.020 (−0.010 to 0.030)"):
        assert words in page.words
    for words in ("a <thin> band", "left: 3 telephone", "1,120 clips"):
        assert words in page.words
    assert "answered" not in page.words.lower()
    assert "None" not in page.words
    synthetic = page_of(with_robustness(results) | {"synthetic": True}, tmp_path)
    assert "Synthetic data. UAR under each condition" in synthetic.words


def test_answers_on_degraded_sound_if_there_is_a_threshold(
    results: dict[str, Any], tmp_path: Path
) -> None:
    record = with_robustness(results, threshold=0.4, skipped=[{"id": "x", "reason": "no sound"}])
    clean, line = record["robustness"]["conditions"]
    clean |= {"coverage": 0.9, "answered_wa": 0.7}
    line |= {"coverage": 0.0, "answered_wa": None, "condition": "speech-noise-20db"}
    page = page_of(record, tmp_path)
    for words in ("90\u00a0%", "70\u00a0%", "at least 0.4", "1 clips could not be read"):
        assert words in page.words
    out = Console(width=80, file=io.StringIO())
    out.print(robustness_table(record["robustness"]))
    printed = out.file.getvalue()  # type: ignore[attr-defined]
    lines = [line for line in printed.splitlines() if "speech-noise-20db" in line]
    assert "−0.070 (−0.090 to −0.050)" in lines[0]
    assert "0 %" in lines[0]


def test_a_change_without_interval(results: dict[str, Any], tmp_path: Path) -> None:
    record = with_robustness(results)
    for row in record["robustness"]["conditions"]:
        for key in [key for key in row if key.endswith(("_low", "_high"))]:
            del row[key]
    record["robustness"]["conditions"][1]["change"] = {"uar": -0.07, "wa": -0.06, "ece": 0.02}
    page = page_of(record, tmp_path)
    assert "−0.070" in page.words and "+0.020" in page.words
    assert "interval" not in robustness_note(record["robustness"])


@pytest.mark.parametrize(
    ("students", "message"), [(0, "42 min<"), (7, "42 min (the last run alone)<")]
)
def test_a_resumed_run_notes_that_its_time_is_not_all(
    results: dict[str, Any], students: int, message: str, tmp_path: Path
) -> None:
    results["reused"] = {"backbones": 0, "students": students}
    report(results, tmp_path / "report.html")
    assert message in (tmp_path / "report.html").read_text("utf-8")


def test_missing_parts_are_left_out(tmp_path: Path) -> None:
    few = {"rows": [{"system": "my_model", "labels": 0.25, "uar": 0.5}], "labels": ["a", "b"]}
    page = page_of(few, tmp_path)
    assert not page.all("svg")
    assert "My model" in page.words
    assert "None" not in page.words and "nan" not in page.words
    report({"rows": few["rows"]}, tmp_path / "less.html")


@pytest.mark.parametrize(
    "part",
    ["comparisons", "embedding_map", "folds", "skipped", "settings", "versions", "labels", "date"],
)
def test_any_part_may_be_missing(results: dict[str, Any], part: str, tmp_path: Path) -> None:
    del results[part]
    assert "None" not in page_of(results, tmp_path).words


def test_a_class_without_clips_and_one_budget(results: dict[str, Any], tmp_path: Path) -> None:
    rows = [row for row in results["rows"] if row["labels"] == 0.1]
    for row in rows:
        row["recalls"][0] = None
        row["confusion"][0] = [0] * len(RAVDESS)
    page = page_of(results | {"rows": rows}, tmp_path)
    assert len(page.all("svg")) == 2, "no curve through one point"
    assert "nan" not in page.words


def test_odd_names_do_no_harm(results: dict[str, Any], tmp_path: Path) -> None:
    odd = '<script>alert("x")</script> $\\frac$'
    results["labels"][0] = results["corpus"] = odd
    results["embedding_map"]["label"] = [odd] * len(results["embedding_map"]["x"])
    page = page_of(results, tmp_path)
    assert not page.all("script")
    assert odd in page.words


def test_a_figure_keeps_labels_that_look_like_svg() -> None:
    odd = 'font: 3px #0072b2 id="x" href="#y font-family: z'
    svg = figures.embedding_map({"x": [0.0], "y": [1.0], "label": [odd]}, [odd])
    assert odd in [element.text for element in ElementTree.fromstring(svg).iter()]


def test_control_characters_and_bytes_that_are_no_text_are_shown(
    results: dict[str, Any], tmp_path: Path
) -> None:
    results["corpus"] = results["labels"][0] = "a\u202eb\x1b \udce9"
    page = page_of(results, tmp_path)
    assert r"a\u202eb\x1b \xe9" in page.words and "\u202e" not in page.words


def test_headline_calls_no_other_student_the_same(results: dict[str, Any]) -> None:
    rows = [
        {**row, "student": "small" if row["system"] == "scratch" else "base"}
        for row in results["rows"]
    ]
    text = headline({**results, "rows": rows})
    assert "A 'small' student without teachers recognises" in text
    assert "The same student" not in text


def test_the_headline_sums_up_the_figures(results: dict[str, Any]) -> None:
    text = headline(results)
    uar = {(row["system"], row["labels"]): row["uar"] for row in results["rows"]}
    student, same, full = (
        f"{100 * uar[key]:.1f} %"
        for key in (("distilled", 0.1), ("scratch", 0.1), ("scratch", 1.0))
    )
    assert f"With 10 % of the labels, the distilled student recognises {student}" in text
    assert f"{same} with the same labels and {full} with all labels" in text
    assert "Guessing would recognise 12.5 %." in text
    alone = {"rows": [{"system": "teacher_face", "labels": 1.0, "uar": 0.5}]}
    assert headline(alone).startswith("With all of the labels, the face teacher recognises 50.0 %")


def test_the_terminal_table_has_every_row(results: dict[str, Any]) -> None:
    console = Console(width=140, file=io.StringIO())
    console.print(table(results))
    text = console.file.getvalue()
    for row in results["rows"]:
        assert f"{row['uar']:.3f} ({row['uar_low']:.3f}–{row['uar_high']:.3f})" in text
    assert "Distilled student" in text
    assert max(map(len, text.splitlines())) <= 80, "doesn't fit a terminal"


def test_perceived_emotions_and_a_crowd_are_shown(results: dict[str, Any], tmp_path: Path) -> None:
    assert "perceived" not in page_of(results, tmp_path).words
    for at, row in enumerate(results["rows"]):
        uar = 0.3 + at / 1000
        row["perceived"] = {
            **{"uar": uar, "uar_low": uar - 0.01, "uar_high": uar + 0.01},
            **{"wa": 0.4, "clips": 5858, "left_out": 350},
        }
    crowd = {"system": "crowd_voice", "uar": 0.4321, "uar_low": 0.41, "uar_high": 0.45, "wa": 0.44}
    results["references"] = [{**crowd, "clips": 5001, "left_out": 1207}]
    console = Console(width=140, file=io.StringIO())
    console.print(table(results))
    text = console.file.getvalue()
    page = page_of(results, tmp_path).words
    for row in results["rows"]:
        assert f"{row['perceived']['uar']:.3f}" in text
        assert f"{row['perceived']['uar']:.3f}" in page
    for words in (text, page):
        assert "Crowd, hearing only" in words
        assert "0.432 (0.410–0.450)" in " ".join(words.split())
        assert "350 with a tie left out" in " ".join(words.split())
    assert "1\u202f207 with a tie left out" in page
    assert max(map(len, text.splitlines())) <= 80, "doesn't fit a terminal"


@pytest.mark.parametrize("voted", [False, True])
def test_speaker_adapted_students_are_shown(
    results: dict[str, Any], tmp_path: Path, voted: bool
) -> None:
    assert "dapted" not in page_of(results, tmp_path).words
    for at, row in enumerate(results["rows"]):
        uar = 0.7 + at / 1000
        scores = {"uar": uar, "uar_low": uar - 0.01, "uar_high": uar + 0.01, "wa": 0.8}
        row["speaker_adapted"] = (
            None if row["system"].startswith("teacher") else {**scores, "ece": 0.1}
        )
        if voted:
            row["perceived"] = {**scores, "uar": uar - 0.3, "clips": 58, "left_out": 35}
    plain = results["comparisons"]
    results["comparisons"] = [*plain, {**plain[0], "value": 1.234, "speaker_adapted": True}]
    console = Console(width=140, file=io.StringIO())
    console.print(table(results))
    text = console.file.getvalue()
    page = page_of(results, tmp_path).words
    for row in results["rows"]:
        if row["speaker_adapted"]:
            assert f"{row['speaker_adapted']['uar']:.3f}" in text
            assert (
                f"{row['speaker_adapted']['uar']:.3f} ({row['speaker_adapted']['uar_low']:.3f}"
                in page
            )
    assert max(map(len, text.splitlines())) <= 80, "doesn't fit a terminal"
    for words in (text, page):
        assert "Adapted: the student's outputs are corrected" in " ".join(words.split())
    assert page.count("; both speaker-adapted") == 1


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({}, "no rows"),
        ({"rows": []}, "no rows"),
        ({"rows": [{"system": "scratch", "uar": 0.5}]}, "row 0 of the results has no 'labels'"),
    ],
)
def test_a_broken_record_is_refused(broken: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        report(broken, tmp_path / "report.html")
    with pytest.raises(InputError, match=message):
        table(broken)


def test_clips_without_a_label_are_on_the_map(results: dict[str, Any], tmp_path: Path) -> None:
    results["embedding_map"]["label"][0] = None
    assert "no label" in page_of(results, tmp_path).words


def test_importing_it_is_cheap() -> None:
    heavy = "{'matplotlib', 'jinja2', 'torch', 'sklearn', 'pandas'} & sys.modules.keys()"
    code = f"import sys, liser.report.benchmark; sys.exit(str({heavy}) if {heavy} else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_page_that_cannot_be_written(results: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"can't write .*report\.html"):
        report(results, tmp_path / "file" / "report.html")

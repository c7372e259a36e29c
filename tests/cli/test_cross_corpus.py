"""`liser cross-corpus`: a matrix or one student from a recipe of two corpora; refusals."""

import json
from pathlib import Path

import pytest

pytest.importorskip("transformers")
from liser.benchmark.backbones import BackboneSource
from liser.errors import InputError

RECIPE = """
folds = 3
valid_speakers = 1

[[source]]
corpus = "folder"
data = "one.csv"
name = "one"
speech_teacher = ["named.csv"]
face_teacher = ["table:named.csv"]

[[source]]
corpus = "folder"
data = "two.csv"
name = "two"
speech_teacher = ["other.csv"]

[distillation]
student = "tiny"
[distillation.training]
updates = 2
batch_size = 4
[distillation.heads]
components = 2
"""


@pytest.fixture
def recipe(recordings: Path) -> Path:
    """Two manifests of the same files, and a teacher that looked at each."""
    rows = [line.split(",") for line in Path("few.csv").read_text().split()][1:]
    for name in ("one", "two"):
        lines = [f"recordings/{path},{label},{path.split('/')[0]}" for path, label in rows]
        Path(f"{name}.csv").write_text("\n".join(["path,label,speaker", *lines]))
    rows = Path("teacher.csv").read_text()
    Path("named.csv").write_text(rows.replace("speaker", "recordings/speaker"))
    Path("other.csv").write_text(Path("named.csv").read_text().replace("clip,a,b", "clip,a,d"))
    Path("recipe.toml").write_text(RECIPE)
    return Path("recipe.toml")


def test_every_student_is_tested_on_every_corpus(liser, recipe: Path) -> None:
    ask = ("cross-corpus", recipe, "--jobs", 1, "--report", "page.html")
    record = json.loads(liser(*ask, "--json").out)
    assert json.loads(Path("runs/cross-corpus/results.json").read_text()) == record
    assert record["command"].startswith("liser cross-corpus recipe.toml --report page.html")
    assert str(Path.cwd()) not in json.dumps(record)
    rows = [("+".join(r["trained_on"]), r["tested_on"]) for r in record["rows"]]
    assert rows == [(a, b) for a in ("one", "two", "one+two") for b in ("one", "two")]
    assert [len(c["teachers"]) for c in record["corpora"]] == [2, 1]
    again = liser(*ask)
    assert again.status == 0
    assert "tested on two" in again.out
    assert f"{record['rows'][0]['uar']:.3f}" in again.out
    assert "one and two" in Path("page.html").read_text()


def test_one_student_of_all(liser, recipe: Path) -> None:
    ask = ("cross-corpus", recipe, "--final", "student", "--jobs", 1)
    record = json.loads(liser(*ask, "--json").out)
    assert record["speakers"] == 12
    assert len(record["valid_speakers"]) == 2
    assert Path("student/student.json").exists()
    assert not Path("benchmarks").exists()
    assert "saved in" in liser(*ask).out
    ended = liser("evaluate", "student", "one.csv")
    assert ended.status == 2
    assert "was trained on 6 of the 6 speakers" in ended.err


def test_refusals(liser, recipe: Path) -> None:
    good = recipe.read_text()
    for text, words in (
        (good.replace("folds = 3", "fold = 3", 1), "fold = 3"),
        (good.replace('name = "one"', 'nam = "one"'), "source.0.nam"),
        (good.replace('name = "two"', 'name = "one"'), "two corpora are called 'one'"),
        (good.replace('"tiny"', '"huge"'), "huge"),
        (good[: good.rindex("[[source]]")], "source"),
        (good.replace("two.csv", "gone.csv"), "gone.csv"),
        (good.replace("folds = 3", "folds = 7"), "6 speakers in 7 folds"),
    ):
        recipe.write_text(text)
        ended = liser("cross-corpus", recipe)
        assert ended.status == 2, ended.err
        assert words in ended.err
    assert liser("cross-corpus", "none.toml").status == 2


def test_all_encoders_are_passed_on(liser, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def spy(*_: object, backbone_source: object, **__: object) -> None:
        given.append(backbone_source)
        raise InputError("enough")

    monkeypatch.setattr("liser.benchmark.cross_corpus.cross_corpus", spy)
    specs = ("whisper", "moon.onnx:outputs=h3,h4")
    ended = liser("cross-corpus", recipe, *(word for one in specs for word in ("--encoder", one)))
    assert "enough" in ended.err
    assert given == [BackboneSource("whisper", Path("targets"), further=specs[1:])]


def test_the_projects_own_recipe_is_that_of_the_bundled_model() -> None:
    from liser.bundle import read_bundle
    from liser.cli.cross_corpus import settings_of
    from liser.config import CrossCorpusRecipe, Distillation
    from liser.runtime import DEFAULT

    recipe = CrossCorpusRecipe.from_toml(Path(__file__).parents[2] / "benchmarks" / "default.toml")
    assert [s.corpus for s in recipe.source] == ["ravdess", "nemo", "ased", "cremad"]
    settings, origin = settings_of(recipe), read_bundle(DEFAULT).provenance
    assert settings.distillation == Distillation.read(origin["settings"])
    assert settings.pretraining.model_dump() == origin["backbone"]["settings"]
    assert (settings.valid_speakers, settings.seed) == (origin["valid_speakers"], origin["seed"])

"""The benchmark of `liser adapt`: no clip, or no speaker, is both adapted to and tested."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from liser.adaptation.fit import LabelledClips
from liser.bundle import Bundle, read_bundle
from liser.corpora.base import Corpus
from liser.runtime import Recognizer
from liser.runtime.vad import all_sound_is_speech

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "adapt.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("adapt_benchmark", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", ["other", "same"])
def test_no_clip_is_tested_that_was_adapted_to(script: ModuleType, kind: str) -> None:
    truth = np.tile([0, 1], 24)
    speakers = tuple(f"s{n // 8}" for n in range(48))
    clips = LabelledClips(np.zeros((48, 2)), np.zeros((48, 3)), ("a", "b") * 24, speakers)
    silent = np.arange(48) == 5
    tested: list[int] = []
    rng = np.random.default_rng(0)
    for fit, test in script._splits(clips, truth, silent, kind, 2, rng):
        assert not set(fit) & set(test) and 5 not in fit
        assert np.bincount(truth[fit]).tolist() == [2, 2]
        shared = {speakers[n] for n in fit} & {speakers[n] for n in test}
        assert (shared == set()) == (kind == "other")
        tested += test.tolist()
    assert len(tested) == len(set(tested))
    # of the same kind, the speaker of the silent clip has too few clips
    assert len(tested) == (48 if kind == "other" else 5 * (8 - 4))


def test_rows_are_written_and_those_of_others_stay(
    script: ModuleType,
    bands: Bundle,
    tone_corpus: Callable[..., Corpus],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    corpus = tone_corpus(tmp_path / "tones", speakers=3, takes=4)
    lines = [f"{u.audio},{u.label},{u.speaker_id}" for u in corpus.utterances]
    table = tmp_path / "tones.csv"
    table.write_text("\n".join(["path,label,speaker", *lines]))
    out = tmp_path / "adapt.json"
    other = {"bundle": "another", "corpus": "tones"}
    out.write_text(json.dumps({"rows": [other]}))
    monkeypatch.setattr(
        script, "load", lambda folder: Recognizer(read_bundle(folder), 1, all_sound_is_speech)
    )
    script.main(table, bundle=bands.folder, speakers=None, most=4, seed=0, out=out)
    first, *rows = json.loads(out.read_text())["rows"]
    assert first == other
    settings = {(r["speakers"], r["clips_per_emotion"], r["draw"]) for r in rows}
    expected = {("other", n, d) for n in (1, 2, 5) for d in range(5)}
    assert settings == expected | {("same", n, d) for n in (1, 2) for d in range(5)}
    assert all(row["uar_before"] == 0 for row in rows), "the model knows none of the labels"
    best = [r for r in rows if r["clips_per_emotion"] == 5]
    assert min(row["uar_after"] for row in best) > 0.9
    assert all(row["gain_low"] <= row["gain"] <= row["gain_high"] for row in rows)

"""`liser ingest` makes a corpus that other verbs take, and names what it left out."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("jinja2")
pytest.importorskip("scipy")

from liser.corpora.synthetic.prosody import draw_prosody
from liser.corpora.synthetic.voice import Voice, speak


@pytest.fixture
def talks(here: Path, write_wav) -> Path:
    """Two sentences in one recording, and a file that is none."""
    parts = []
    for seed in (2, 3):
        rng = np.random.default_rng(seed)
        voice = Voice.draw("female", rng)
        parts += [np.zeros(24_000), speak(voice, draw_prosody("neutral", 1.0, rng), 2.0, rng)[0]]
    folder = here / "talks"
    folder.mkdir()
    write_wav(folder / "long.wav", np.concatenate([*parts, np.zeros(24_000)]))
    (folder / "broken.mp4").write_bytes(b"nothing" * 99)
    (folder / "notes.txt").write_text("notes")
    return folder


def test_a_corpus_is_made_once_and_other_verbs_take_it(liser, talks: Path) -> None:
    ask = ("ingest", talks, "--out", "corpus", "--no-faces", "--json")
    first, second = (json.loads(liser(*ask).out) for _ in range(2))
    assert (first["ingested"], first["sources"], first["pieces"]) == (2, 1, 2)
    assert first["taken"]["audio-only"]["pieces"] == 2
    assert [Path(one["source"]).name for one in first["skipped"]] == ["broken.mp4"]
    assert first["skipped"][0]["reason"] == "not media"
    assert [one["source"] for one in first["not_media"]] == ["notes.txt"]
    assert first["limits"]["shortest_s"] == 1.0
    assert second == first | {"ingested": 0}
    assert "<html" in Path(first["sheet"]).read_text("utf-8")
    report = json.loads(liser("corpus", "corpus", "--json").out)
    assert (report["kind"], report["guessed"], report["utterances"]) == ("ingested", True, 2)
    taught = json.loads(liser("teach", "corpus", "--speech-teacher", "opensmile", "--json").out)
    assert taught["teachers"][0]["clips"] == 2


def test_tables_progress_and_clips_are_for_people(liser, talks: Path) -> None:
    ended = liser("ingest", talks, "--out", "corpus", "--no-faces", "--cut", "--no-sheet")
    assert "no picture" in ended.out and "broken.mp4" in ended.out
    assert "ingesting: 2 of 2" in ended.err
    assert len(list(Path("corpus/clips").rglob("*.flac"))) == 2
    assert not Path("corpus/sheet.html").exists()


def test_what_cannot_be_meant_is_refused_before_any_work(liser, talks: Path) -> None:
    assert liser("ingest", "nowhere", "--out", "corpus", "--no-faces").status == 2
    ended = liser("ingest", talks, "--out", "corpus", "--network", "nowhere.pt")
    assert ended.status == 2 and "nowhere.pt" in ended.err
    assert liser("ingest", talks, "--out", talks, "--no-faces").status == 2
    assert not Path("corpus/manifest.parquet").exists()

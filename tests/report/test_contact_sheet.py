"""The contact sheet is one file that needs nothing else, and shows every reason."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jinja2")
pytest.importorskip("pyarrow")

from liser.corpora.base import Corpus
from liser.corpora.registry import load_corpus
from liser.ingest.ingest import ingest
from liser.ingest.source import IngestSettings
from liser.report.contact_sheet import contact_sheet, first_guesses, sampled
from liser.targets.store import TargetStore
from liser.targets.teach import teach


def row(number: int, taken: str = "audiovisual", reason: str = "") -> dict[str, object]:
    return {"id": str(number), "taken": taken, "reason": reason}


def test_a_sample_has_every_reason_and_keeps_the_order() -> None:
    rows = [row(n) for n in range(500)]
    rows[250] = row(250, "left out", "music")
    rows[333] = row(333, "audio-only", "no face")
    found = sampled(rows, 20)
    assert len(found) == 20
    assert {one["reason"] for one in found} == {"", "music", "no face"}
    numbers = [int(str(one["id"])) for one in found]
    assert numbers == sorted(numbers)
    assert max(np.diff(numbers)) < 100, "they are spread over the corpus"
    assert sampled(rows, 500) == rows


def test_the_page_holds_all_that_it_shows(
    tmp_path: Path, write_wav: Callable[..., Path], voice: Callable[..., np.ndarray]
) -> None:
    from length_teacher import LengthTeacher

    folder = tmp_path / "media"
    folder.mkdir()
    rest = np.zeros(16_000)
    write_wav(folder / "<b>talk.wav", np.concatenate([rest, voice(2.0, seed=3), rest]))
    corpus = tmp_path / "corpus"
    found = ingest([folder], IngestSettings(corpus, faces=False))
    assert found.rows, "the detector takes the made voice for one"
    store = TargetStore(tmp_path / "store")
    loaded = load_corpus("ingested", corpus)
    usable = Corpus(loaded.name, (), "given", loaded.utterances)
    if usable.utterances:
        teach(usable, LengthTeacher(), store, progress=False)
    done: list[tuple[int, int]] = []
    path = tmp_path / "sheet.html"
    contact_sheet(
        corpus, found.rows, found.summary, path, store.folder, lambda a, b: done.append((a, b))
    )
    page = path.read_text("utf-8")
    assert len(re.findall('<li class="card', page)) == len(found.rows) == done[-1][0]
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources and all(source.startswith("data:") for source in sources)
    assert "<b>talk" not in page and "&lt;b&gt;talk.wav" in page
    guesses = first_guesses(corpus, {str(one["id"]) for one in found.rows}, store.folder)
    assert set(guesses) == {u.id for u in usable.utterances}
    for guess in (one for some in guesses.values() for one in some):
        assert (guess.teacher, guess.label) == ("length", "long")
        assert f"first guess of {guess.teacher}" in page

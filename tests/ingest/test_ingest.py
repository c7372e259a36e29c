"""A corpus is the same however often it was stopped; what can't be used is counted and named."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

pytest.importorskip("pyarrow")

from liser.corpora.ingested import MANIFEST
from liser.corpora.registry import guess_corpus, load_corpus
from liser.corpora.tables import read_rows
from liser.errors import InputError, NotFoundError
from liser.ingest.clips import cut_clips
from liser.ingest.ingest import Ingested, Run, in_this_process, ingest, on_workers
from liser.ingest.manifest import manifest_rows, write_manifest
from liser.ingest.records import Piece, SourceRecord, TalkingFace, encoded, read_records
from liser.ingest.source import IngestSettings, SourceIngester
from liser.media.audio import load_audio
from liser.scale.in_process import InProcess
from liser.scale.pool import Event, Factory, Pool
from liser.scale.scheduler import KILLED, Quarantined
from liser.scale.shard import Shard

Recording = Callable[..., np.ndarray]
Writer = Callable[..., Path]


def run_of(asked: list[str], stop_at: int | None = None) -> Run:
    """Return a run that notes the sources that it ingests, and may be killed."""

    def run(paths: list[str], make: Callable[[], SourceIngester]) -> Iterator[SourceRecord]:
        for number, path in enumerate(paths):
            if number == stop_at:
                raise KeyboardInterrupt
            asked.append(Path(path).name)
            yield make()(path)

    return run


def ingested(media: Path, corpus: Path, run: Run | None = None) -> Ingested:
    return ingest([media], IngestSettings(corpus, faces=False), run=run)


@pytest.fixture(scope="module")
def corpus(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "corpus"
    ingested(media, folder)
    return folder


def test_each_sentence_becomes_an_utterance(corpus: Path, media: Path) -> None:
    assert guess_corpus(corpus) == guess_corpus(corpus / MANIFEST) == "ingested"
    found = load_corpus("ingested", corpus)
    assert [u.audio.name for u in found.utterances if u.audio] == ["first.wav"] * 2 + [
        "second.wav"
    ] * 3
    assert all(u.video is None and u.face is None for u in found.utterances)
    for number, one in enumerate(found.utterances[:2]):
        assert one.start_s == pytest.approx(1.5 + 3.5 * number, abs=0.3)
        assert one.end_s == pytest.approx(3.5 + 3.5 * number, abs=0.6)
        assert one.audio and one.audio.resolve() == (media / "first.wav").resolve()


def test_a_second_run_reads_no_source_again_and_gives_the_same(corpus: Path, media: Path) -> None:
    before, asked = (corpus / MANIFEST).read_bytes(), list[str]()
    again = ingested(media, corpus, run_of(asked))
    assert (asked, again.ingested) == ([], 0)
    assert (corpus / MANIFEST).read_bytes() == before
    assert [skip.id for skip in again.left_out] == ["notes.txt"]


def test_a_killed_run_resumes_and_gives_the_same(corpus: Path, media: Path, tmp_path: Path) -> None:
    asked: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        ingested(media, tmp_path / "corpus", run_of(asked, stop_at=1))
    ingested(media, tmp_path / "corpus", run_of(asked))
    assert asked == ["first.wav", "second.wav"]
    ignored = {"path": None}
    rows, others = (read_rows(folder / MANIFEST) for folder in (corpus, tmp_path / "corpus"))
    assert [row | ignored for row in rows] == [row | ignored for row in others]


def test_a_new_file_and_a_damaged_record_cost_only_themselves(
    media: Path, tmp_path: Path, write_wav: Writer, recording: Recording
) -> None:
    folder, made = tmp_path / "media", tmp_path / "corpus"
    folder.mkdir()
    for name in ("first.wav", "second.wav"):
        (folder / name).write_bytes((media / name).read_bytes())
    ingested(folder, made)
    write_wav(folder / "third.wav", recording(13))
    asked: list[str] = []
    found = ingested(folder, made, run_of(asked))
    assert asked == ["third.wav"]
    assert found.summary["sources"] == 3
    (record,) = (r for r in read_records(made) if r.path.endswith("second.wav"))
    path = made / "sources" / f"{record.sha256}.json"
    path.write_text(path.read_text().replace('"speech_s": ', '"speech_s": 1'))
    asked.clear()
    assert ingested(folder, made, run_of(asked)).rows == found.rows
    assert asked == ["second.wav"]


def test_a_moved_file_is_known_by_its_bytes(media: Path, tmp_path: Path) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "first.wav").write_bytes((media / "first.wav").read_bytes())
    before = ingested(folder, tmp_path / "corpus")
    (folder / "first.wav").rename(folder / "renamed.wav")
    after = ingested(folder, tmp_path / "corpus")
    assert [row["sha256"] for row in after.rows] == [row["sha256"] for row in before.rows]
    assert after.records[0].path.endswith("renamed.wav")
    assert after.records[0].seconds == before.records[0].seconds, "it was not ingested again"


def test_what_cannot_be_used_is_named(
    media: Path, tmp_path: Path, write_wav: Writer, recording: Recording
) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    whole = write_wav(folder / "whole.wav", recording(14))
    (folder / "copy.wav").write_bytes(whole.read_bytes())
    (folder / "empty.wav").write_bytes(b"")
    (folder / "odd.mp4").write_bytes(b"no video at all" * 99)
    write_wav(folder / "silent.wav", np.zeros(16_000))
    found = ingested(folder, tmp_path / "corpus")
    reasons = {skip.id.rpartition("/")[2]: skip.reason for skip in found.skipped}
    assert reasons == {"whole.wav": "same content", "empty.wav": "empty", "odd.mp4": "not media"}
    assert [note["note"] for note in found.summary["notes"]] == ["no speech was found in it"]
    assert found.summary["taken"]["audio-only"]["pieces"] == 1
    again = ingested(folder, tmp_path / "corpus")
    assert (again.rows, again.skipped) == (found.rows, found.skipped)


def test_a_recording_that_breaks_off_is_used_up_to_there(
    tmp_path: Path, recording: Recording
) -> None:
    whole, cut = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    sound = recording(2, 3, 4, 5)
    with av.open(str(whole), "w") as container:
        stream = container.add_stream("flac", rate=16_000, layout="mono")
        for first in range(0, len(sound), 4096):
            samples = (sound[None, first : first + 4096] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples, "s16", "mono")
            frame.sample_rate, frame.pts = 16_000, first
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 7 // 10])
    found = ingest([cut], IngestSettings(tmp_path / "corpus", faces=False))
    assert 2 <= len(found.rows) <= 3
    assert "what comes before is used" in found.summary["notes"][0]["note"]


def test_another_corpus_or_other_settings_are_refused(
    corpus: Path, media: Path, tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError, match="no file or folder"):
        ingested(tmp_path / "nowhere", tmp_path / "corpus")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="belong to no corpus"):
        ingested(media, tmp_path)
    settings = json.loads((corpus / "ingest.json").read_text())
    other = tmp_path / "other"
    other.mkdir()
    (other / "ingest.json").write_text(json.dumps(settings | {"faces": True}))
    with pytest.raises(InputError, match="faces was True and is False"):
        ingested(media, other)


def piece(start_s: float, **fields: object) -> Piece:
    quality = {"level_dbfs": -30.0, "snr_db": 30.0, "clipped": 0.0, "music": 0.0}
    quality["second_voice"] = 0.2
    rng = np.random.default_rng(round(100 * start_s))
    words = rng.integers(0, 2**32, 150, dtype=np.uint64).astype(np.uint32)
    made = Piece(start_s, start_s + 2, 1.8, quality, encoded(words))
    return replace(made, **fields)  # type: ignore[arg-type]


FACE = TalkingFace(3, ((1.2, 0.1, 0.2, 0.3, 0.4), (1.4, 0.2, 0.2, 0.3, 0.4)), 99.0, 0.4, 0.1, 1.0)


def test_who_talks_decides_how_a_piece_is_used(tmp_path: Path) -> None:
    video = tmp_path / "talk.mp4"
    video.touch()
    pieces = (
        piece(1.0, talks="face", face=FACE, why="the only face talks"),
        piece(4.0, talks="nobody", why="no face"),
        piece(7.0, talks="face", face=FACE, face_fault="face too small"),
        piece(10.0, fault="music", talks="face", face=FACE),
        piece(13.0, talks="face", face=FACE, fingerprint=piece(1.0).fingerprint),
    )
    record = SourceRecord(str(video), "ab" * 32, 1, 1, 20.0, True, pieces)
    rows = manifest_rows([record], tmp_path, speaker_of="file")
    assert [(row["taken"], row["reason"]) for row in rows] == [
        ("audiovisual", ""),
        ("audio-only", "no face"),
        ("audio-only", "face too small"),
        ("left out", "music"),
        ("left out", "near-duplicate"),
    ]
    assert rows[4]["duplicate_of"] == rows[0]["id"]
    write_manifest(rows, tmp_path)
    first, second, third = load_corpus("ingested", tmp_path).utterances
    assert (first.speaker_id, first.video, second.video, third.video) == ("talk", video, None, None)
    assert first.face is not None and second.face is None and third.face is None
    assert np.allclose(first.face.times_s, [0.2, 0.4])
    assert np.allclose(first.face.boxes, [[0.1, 0.2, 0.3, 0.4], [0.2, 0.2, 0.3, 0.4]])


def test_the_order_of_the_records_does_not_matter(corpus: Path) -> None:
    records = list(read_records(corpus))
    assert len(records) == 2
    assert manifest_rows(records, corpus) == manifest_rows(records[::-1], corpus)


def test_clips_stand_in_for_a_source_that_is_gone(media: Path, tmp_path: Path) -> None:
    source = tmp_path / "talk.wav"
    source.write_bytes((media / "first.wav").read_bytes())
    found = ingest([source], IngestSettings(tmp_path / "corpus", faces=False))
    assert cut_clips(found.rows, found.corpus) == 2
    write_manifest(found.rows, found.corpus)
    before = load_corpus("ingested", found.corpus).utterances
    assert cut_clips(found.rows, found.corpus) == 0, "they are there"
    source.unlink()
    after = load_corpus("ingested", found.corpus).utterances
    assert [u.id for u in after] == [u.id for u in before]
    for one, row in zip(after, found.rows, strict=True):
        assert one.audio is not None
        sound = load_audio(one.audio, 16_000)
        own = load_audio(media / "first.wav", 16_000, row["start"], row["end"])
        assert np.abs(sound - own).max() < 1e-4


def test_progress_is_reported_within_a_source(media: Path, tmp_path: Path) -> None:
    reports: list[tuple[str, float, float]] = []
    run = in_this_process(lambda path, done_s, total_s: reports.append((path, done_s, total_s)))
    ingested(media, tmp_path / "corpus", run)
    assert [Path(path).name for path, done_s, total_s in reports if done_s == total_s] == [
        "first.wav",
        "second.wav",
    ]


def test_workers_and_shards_give_the_same_corpus(corpus: Path, media: Path, tmp_path: Path) -> None:
    settings = IngestSettings(tmp_path / "corpus", faces=False)
    shares = [
        ingest([media], settings, run=on_workers(InProcess()), shard=Shard(number, 2))
        for number in (1, 2)
    ]
    assert sum(share.ingested for share in shares) == 2
    ids = [row["id"] for row in read_rows(corpus / MANIFEST)]
    assert [row["id"] for row in shares[-1].rows] == ids


def test_a_source_that_raises_is_named_and_the_others_are_ingested(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SourceIngester.__call__

    def fails(self: SourceIngester, path: str) -> SourceRecord:
        if path.endswith("second.wav"):
            raise RuntimeError("the worker's own fault")
        return real(self, path)

    monkeypatch.setattr(SourceIngester, "__call__", fails)
    found = ingested(media, tmp_path / "corpus", on_workers(InProcess()))
    assert found.ingested == 1
    (skip,) = found.skipped
    assert skip.id.endswith("second.wav")
    assert "the worker's own fault" in skip.detail


class Mortal(InProcess):
    """A worker that dies of one source; `asked` names the sources that it got."""

    size = 1

    def __init__(self, deadly: str) -> None:
        self.deadly, self.asked = deadly, list[str]()

    def open(self, factory: Factory) -> Pool:
        self._own = super().open(factory)
        self.start, self.stop, self.close = self._own.start, self._own.stop, self._own.close
        self._dies = False
        return self

    def send(self, worker: int, item: str) -> None:
        self.asked.append(Path(item).name)
        self._dies = self.asked[-1] == self.deadly
        if not self._dies:
            self._own.send(worker, item)

    def wait(self, timeout_s: float) -> Sequence[Event]:
        if not self._dies:
            return self._own.wait(timeout_s)
        self._dies = False
        return [Event(0, "died", "signal 9")]


def test_a_source_that_kills_its_workers_is_not_tried_again_until_that_is_asked_for(
    media: Path, tmp_path: Path
) -> None:
    worker = Mortal("second.wav")
    settings = IngestSettings(tmp_path / "corpus", faces=False)

    def again(retry_killers: bool = False) -> tuple[int, list[str], list[str]]:
        worker.asked.clear()
        found = ingest([media], settings, run=on_workers(worker), retry_killers=retry_killers)
        return len(found.rows), [skip.reason for skip in found.skipped], list(worker.asked)

    tries = ["second.wav"] * 3
    assert again() == (2, [KILLED], ["first.wav", *tries])
    assert again() == (2, [KILLED], [])
    assert again(retry_killers=True) == (2, [KILLED], tries)
    worker.deadly = ""
    assert again() == (2, [KILLED], [])
    assert again(retry_killers=True) == (5, [], ["second.wav"])


def test_a_deadly_source_that_is_gone_is_named(media: Path, tmp_path: Path) -> None:
    source = tmp_path / "talk.wav"
    source.write_bytes((media / "first.wav").read_bytes())

    def run(paths: list[str], make: object) -> Iterator[Quarantined[str]]:
        source.unlink()
        yield Quarantined(paths[0], KILLED, "signal 9", 3, False)

    found = ingest([source], IngestSettings(tmp_path / "corpus", faces=False), run=run)
    assert [(s.id, s.reason) for s in found.skipped] == [(str(source), KILLED)]
    assert not found.records

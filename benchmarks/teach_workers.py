"""Ingest and teach as a whole, by back end and workers, and what the manifest costs its process.

Pieces of `teach.py`.
"""

import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from liser.corpora.base import Corpus, Utterance
from liser.corpora.registry import load_corpus
from liser.ingest.duplicates import Words
from liser.ingest.ingest import ingest, on_workers
from liser.ingest.manifest import manifest_rows, write_manifest
from liser.ingest.records import Piece, SourceRecord, encoded, read_records
from liser.ingest.source import IngestSettings
from liser.scale.in_process import InProcess
from liser.scale.pool import Backend, Event, Factory, Pool
from liser.scale.processes import Processes
from liser.scale.ray_actors import RayActors
from liser.targets.store import TargetStore
from liser.targets.teach import teach
from liser.teachers.base import Target
from liser.teachers.registry import teachers
from teach_alone import memory_mb, peak_memory_mb

Row = dict[str, Any]

BACKENDS: dict[str, Callable[[], Backend]] = {
    "this process": InProcess,
    "1 process": lambda: Processes(1),
    "2 processes": lambda: Processes(2),
    "Ray, 1 worker": lambda: RayActors("local", 1),
    "Ray, 2 workers": lambda: RayActors("local", 2),
}
SHIFT_S = 0.04
"""A clip that begins this much later is another one to the store, and costs as much."""
PIECE_S = 7.8
"""Length of a piece in a large manifest: VoxCeleb2's mean."""
_WORD_S = 0.016  # of an audio fingerprint
_PIECES_A_SOURCE = 100


class Timed:
    """A back end that measures how long its pools take until their first worker is ready."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.start_s = backend, 0.0

    def open(self, factory: Factory) -> Pool:
        """Open the pool, which begins the measurement."""
        return _TimedPool(self, factory)


class _TimedPool:
    def __init__(self, owner: Timed, factory: Factory) -> None:
        self._owner, self._began, self._is_ready = owner, time.perf_counter(), False
        self._pool = owner.backend.open(factory)
        self.size = self._pool.size
        self.start, self.send = self._pool.start, self._pool.send
        self.stop, self.close = self._pool.stop, self._pool.close

    def wait(self, timeout_s: float) -> Sequence[Event]:
        events = self._pool.wait(timeout_s)
        if not self._is_ready and any(event.kind == "ready" for event in events):
            self._is_ready = True
            self._owner.start_s += time.perf_counter() - self._began
        return events


def ingest_row(
    name: str, sources: str, corpus: str, detector: str, network: str, clips: int
) -> Row:
    """Ingest a folder of recordings on a back end."""
    settings = IngestSettings(Path(corpus), True, detector, network)

    def work(backend: Backend) -> float:
        found = ingest([Path(sources)], settings, run=on_workers(backend))
        if found.skipped:
            raise ValueError(f"{found.skipped[0]} was skipped")
        return float(found.summary["source_seconds"])

    return _measured("ingest", name, work, clips)


def teach_row(name: str, corpus: str, store: str, speech: str, face: str, shifts: int) -> Row:
    """Ask a speech and a face teacher about an ingested corpus on a back end."""
    some = _shifted(load_corpus("ingested", Path(corpus)), shifts)
    began = time.perf_counter()
    asked = teachers([speech], [face])
    for teacher in asked:
        _ = teacher.fingerprint  # which reads the weights, once
    load_s = time.perf_counter() - began

    def work(backend: Backend) -> float:
        for teacher in asked:
            teach(some, teacher, TargetStore(store), False, backend)
        return sum((one.end_s or 0) - one.start_s for one in some.utterances)

    row = _measured("teach", name, work, len(some.utterances))
    return row | {"start_s": round(row["start_s"] + load_s, 1)}


def _shifted(corpus: Corpus, shifts: int) -> Corpus:
    """Return a corpus with more clips: each again, a little later."""

    def again(one: Utterance, by: int) -> Utterance:
        return replace(one, id=f"{one.id} {by}", start_s=one.start_s + SHIFT_S * by)

    seen = [one for one in corpus.utterances if one.video is not None]
    return replace(corpus, utterances=tuple(again(u, k) for k in range(shifts) for u in seen))


def _measured(what: str, name: str, work: Callable[[Backend], float], clips: int) -> Row:
    """Return the row of some work, which returns its seconds of media.

    `start_s` ends when the first worker is ready, and `work_s` begins then. `cpu_s` is the time of
    all processes; Ray's isn't known.
    """
    backend = Timed(BACKENDS[name]())
    cpu_s, began = _cpu_s(), time.perf_counter()
    media_s = work(backend)
    wall_s = time.perf_counter() - began
    work_s = wall_s - backend.start_s
    is_ray = "Ray" in name
    largest = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        "what": what,
        "backend": name,
        "workers": 2 if "2" in name else 1,
        "clips": clips,
        "media_s": round(media_s, 1),
        "start_s": round(backend.start_s, 1),
        "work_s": round(work_s, 2),
        "cpu_s": None if is_ray else round(_cpu_s() - cpu_s, 2),
        "clips_a_second": round(clips / work_s, 2),
        "times_real_time": round(media_s / work_s, 2),
        "peak_memory_mb": None if is_ray else round(largest / 1024),
        "load_before": round(os.getloadavg()[0], 1),
    }


def _cpu_s() -> float:
    """Return the CPU time of this process and of its workers that have ended."""
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def manifest(corpus: str, out: str, pieces: int) -> Row:
    """Make the manifest of many records, as `ingest` does at its end; return time and memory.

    The records are copies of a real one, with other fingerprints, and pieces of `PIECE_S`.
    """
    record = next(one for one in read_records(Path(corpus)) if one.pieces)
    piece = next(one for one in record.pieces if one.face is not None and one.fault is None)
    before_mb, began = memory_mb(), time.perf_counter()
    records = [_source(record, piece, number) for number in range(-(-pieces // _PIECES_A_SOURCE))]
    records_mb, made_s = memory_mb() - before_mb, time.perf_counter() - began
    rows = manifest_rows(records, Path(out))
    peak_mb, rows_s = peak_memory_mb() - before_mb, time.perf_counter() - began - made_s
    path = write_manifest(rows, Path(out))
    return {
        "pieces": len(rows),
        "used": sum(row["taken"] != "left out" for row in rows),
        "piece_s": PIECE_S,
        "records_mb": round(records_mb, 1),
        "peak_mb": round(peak_mb, 1),
        "rows_s": round(rows_s, 2),
        "write_s": round(time.perf_counter() - began - made_s - rows_s, 2),
        "bytes": path.stat().st_size,
    }


class _Known:
    """A teacher that has looked up its targets, of `dimensions` each."""

    name, modality, labels, fingerprint = "known", "speech", None, "0"
    precomputed = True

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions

    def observe(self, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Target]]:
        for number, utterance in enumerate(utterances):
            yield utterance, Target(np.full(self.dimensions, number, np.float32))


def targets(dimensions: int, clips: int, store: str) -> Row:
    """Return the memory that `teach` needs to give its targets, the corpus left out."""
    some = tuple(Utterance(str(number), None) for number in range(clips))
    corpus, before_mb = Corpus("many", (), "given", some), memory_mb()
    teach(corpus, _Known(dimensions), TargetStore(store), False)
    return {
        "clips": clips,
        "dimensions": dimensions,
        "peak_mb": round(peak_memory_mb() - before_mb, 1),
    }


def _source(record: SourceRecord, piece: Piece, number: int) -> SourceRecord:
    rng, face = np.random.default_rng(number), piece.face
    assert face is not None
    boxes = [(0.2 * k, *face.boxes[0][1:]) for k in range(round(5 * PIECE_S))]

    def words() -> Words:
        return rng.integers(1, 2**32, round(PIECE_S / _WORD_S), np.uint32)

    pieces = tuple(
        replace(
            piece,
            start_s=10.0 * place,
            end_s=10.0 * place + PIECE_S,
            fingerprint=encoded(words()),
            face=replace(face, boxes=tuple((10.0 * place + b[0], *b[1:]) for b in boxes)),
        )
        for place in range(_PIECES_A_SOURCE)
    )
    path = f"/videos/{number}.mp4"
    return replace(record, path=path, sha256=f"{number:064x}", pieces=pieces)

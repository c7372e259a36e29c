"""Long recordings → a corpus: finds the sources, ingests the new ones, and writes the manifest.

The corpus is a folder: ``ingest.json`` (the settings), ``sources/`` (a record a source) and
``manifest.parquet``. Media stay where they are.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from liser.corpora.base import Skip
from liser.corpora.files import is_folder, look_through, once
from liser.errors import NotFoundError
from liser.fingerprint import fingerprint
from liser.folders import INGESTED
from liser.ingest.manifest import Row, SpeakerOf, manifest_rows, summary, write_manifest
from liser.ingest.records import SourceRecord, read_records
from liser.ingest.source import (
    IngestSettings,
    ProgressCallback,
    SourceIngester,
    forget_killers,
    quarantine,
)
from liser.scale import scheduler
from liser.scale.pool import Backend
from liser.scale.shard import Shard
from liser.text.escaping import readable

VERSION = 1
"""Increase it with any change to what a record holds or how its figures are made."""

Worker = Callable[[str], SourceRecord]
Outcome = SourceRecord | scheduler.Quarantined[str]
Run = Callable[[Iterable[str], Callable[[], Worker]], Iterator[Outcome]]
"""Does the work: takes the paths to ingest, and what makes a worker in each process; yields a
record for each path, or why it was given up. In any order."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """A corpus after a run.

    Attributes:
        corpus: its folder.
        rows: the manifest, a row a piece.
        records: of all sources that were ever ingested into it.
        ingested: how many were ingested now.
        skipped: files that can't be used, of this run.
        left_out: files that are plainly no recordings, of this run.
    """

    corpus: Path
    rows: list[Row]
    records: list[SourceRecord]
    ingested: int
    skipped: tuple[Skip, ...] = ()
    left_out: tuple[Skip, ...] = ()
    summary: dict[str, Any] = field(default_factory=dict)


def in_this_process(
    progress: ProgressCallback = lambda path, done_s, total_s: None,
) -> Run:
    """Return a `Run` that ingests one source after another, and reports how far each has come."""

    def run(paths: Iterable[str], make: Callable[[], Worker]) -> Iterator[Outcome]:
        worker: Worker | None = None
        for path in paths:
            if worker is None:
                worker = make()
                if isinstance(worker, SourceIngester):
                    worker.progress = progress
            yield worker(path)

    return run


def on_workers(backend: Backend) -> Run:
    """Return a `Run` that shares the sources among workers (`liser.scale`)."""

    def run(paths: Iterable[str], make: Callable[[], Worker]) -> Iterator[Outcome]:
        for outcome in scheduler.run(paths, make, backend):
            yield outcome.result if isinstance(outcome, scheduler.Done) else outcome

    return run


def ingest(
    sources: Sequence[Path],
    settings: IngestSettings,
    speaker_of: SpeakerOf = "none",
    run: Run | None = None,
    advance: Callable[[int, int], None] = lambda done, total: None,
    shard: Shard | None = None,
    retry_killers: bool = False,
) -> Ingested:
    """Ingest media files and folders of them into a corpus, and write its manifest.

    A file with a record isn't read again: known by its path, size and time of change, or else by
    its bytes. A stopped run resumes.

    Args:
        sources: media files, and folders, which are searched at every level.
        settings: of the corpus, whose folder is made.
        speaker_of: what stands for the speaker in the manifest.
        run: does the work; None for one source after another in this process.
        advance: called with the number of sources that are done, and of all.
        shard: ingest this share of the sources only. The manifest holds what all shards have
            recorded by then.
        retry_killers: try sources again that have killed their workers. They get a record, so that
            they aren't tried in every run.

    Raises:
        InputError: the corpus has other settings, or its folder holds other files.
        NotFoundError: there is no source, or none is a media file.
        StorageError: the folder can't be written.
        MissingExtraError: a package of the extras ``ingest`` or ``video`` is missing.
    """
    corpus = settings.corpus
    paths, skipped, left_out = find_sources(sources, corpus)
    if shard is not None:
        paths = [path for path in paths if path in shard]
    INGESTED.claim(
        corpus,
        {
            "corpus": "ingested",
            "version": VERSION,
            "faces": settings.faces,
            "models": _models(settings) if settings.faces else None,
        },
    )
    if retry_killers:
        forget_killers(corpus, paths)
    ingested, failed = _ingest_new(paths, settings, run or in_this_process(), advance)
    records = list(read_records(corpus))
    rows = manifest_rows(records, corpus, speaker_of)
    write_manifest(rows, corpus)
    unusable = [Skip(readable(r.path), *r.skip) for r in records if r.skip is not None]
    everything = (*skipped, *failed, *unusable)
    found = summary(records, rows)
    return Ingested(corpus, rows, records, ingested, everything, tuple(left_out), found)


def _ingest_new(
    paths: Sequence[str],
    settings: IngestSettings,
    run: Run,
    advance: Callable[[int, int], None],
) -> tuple[int, list[Skip]]:
    """Ingest the paths without a current record; return how many, and those that have none now."""
    known = {record.path: record for record in read_records(settings.corpus)}
    new = [path for path in paths if not _is_current(known.get(path), Path(path))]
    first_of = {known[path].sha256: path for path in set(paths) - set(new)}
    done, ingested = len(paths) - len(new), 0
    advance(done, len(paths))
    skipped: list[Skip] = []
    for outcome in run(new, partial(SourceIngester, settings)):
        done += 1
        advance(done, len(paths))
        if isinstance(outcome, scheduler.Quarantined):
            killed = outcome.reason == scheduler.KILLED
            if not killed or not quarantine(settings.corpus, outcome.item, outcome.detail):
                detail = readable(outcome.detail)
                skipped.append(Skip(readable(outcome.item), outcome.reason, detail))
            continue
        ingested += 1
        first = first_of.setdefault(outcome.sha256, outcome.path)
        if outcome.skip is not None and outcome.may_pass:
            skipped.append(Skip(readable(outcome.path), *outcome.skip))
        elif first != outcome.path:
            detail = f"the same bytes as {readable(first)}, which is used"
            skipped.append(Skip(readable(outcome.path), "same content", detail))
    return ingested, skipped


def find_sources(sources: Sequence[Path], corpus: Path) -> tuple[list[str], list[Skip], list[Skip]]:
    """Return the absolute paths of all media files, and the skips of other files.

    The second list names what may be media and can't be used, the third what is plainly none. The
    corpus's own files are no sources.

    Raises `NotFoundError` if there is no such file or folder, or no media in all of them.
    """
    paths: list[str] = []
    skipped: list[Skip] = []
    left_out: list[Skip] = []
    own = corpus.resolve()
    for source in sources:
        if is_folder(source):
            found = look_through(source)
            skipped += found.skipped
            left_out += found.left_out
            media = [file.path.resolve() for file in found.media]
            paths += [str(path) for path in media if own not in path.parents]
        else:
            if not source.exists():
                name = readable(source)
                raise NotFoundError(f"there is no file or folder {name!r}: check the path")
            paths.append(str(source.resolve()))
    paths, again = once(paths)
    if not paths:
        names = ", ".join(readable(source) for source in sources)
        raise NotFoundError(f"there is no media file in {names}: give recordings, or their folder")
    return paths, skipped, [*left_out, *again]


def _is_current(record: SourceRecord | None, path: Path) -> bool:
    if record is None:
        return False
    try:
        status = path.stat()
    except OSError:
        return False
    return (record.size, record.mtime_ns) == (status.st_size, status.st_mtime_ns)


def _models(settings: IngestSettings) -> str:
    """Return a hash of the face detector and of the network that finds who talks."""
    from liser.media.detectors import detector_of
    from liser.weights import resolve

    name, _, weights = settings.detector.partition(":")
    network = None
    if settings.network is not None:
        network = resolve(settings.network, "network that finds who talks")
    return fingerprint(*detector_of(name, weights or None).settings, network)

"""`liser ingest`: long recordings become a corpus of utterances."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liser.cli.options import Json, Ray, RetryKillers, ShardOf, Workers

if TYPE_CHECKING:
    from liser.ingest.ingest import Ingested


class SpeakerOf(StrEnum):
    """What stands for the speaker, as in `liser.ingest.manifest`, which takes long to import.

    Not a Literal: the lowest typer that we allow knows none.
    """

    none = "none"
    file = "file"
    folder = "folder"


Sources = Annotated[
    list[Path], typer.Argument(metavar="SOURCE…", help="Recordings, or folders of them.")
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the corpus.")]
Faces = Annotated[bool, typer.Option("--faces/--no-faces", help="Find out whose face talks.")]
Detector = Annotated[
    str, typer.Option(metavar="NAME[:FILE]", help="Face detector: {detectors}, or yunet:FILE.")
]
Network = Annotated[
    str,
    typer.Option(metavar="NET", help="Weights of LR-ASD: lr-asd, a FILE, or none to do without."),
]
Speaker = Annotated[
    SpeakerOf,
    typer.Option(
        metavar="WHAT", help="What stands for the speaker: none, the file, or its folder."
    ),
]
Cut = Annotated[bool, typer.Option("--cut", help="Also cut the utterances out, as files.")]
Sheet = Annotated[
    bool, typer.Option("--sheet/--no-sheet", help="Write the contact sheet, sheet.html.")
]
GuessStore = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Target store whose first guesses the contact sheet shows."),
]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("ingest")(ingest_command)


def ingest_command(
    sources: Sources,
    out: Out = Path("corpus"),
    faces: Faces = True,
    detector: Detector = "yunet",
    network: Network = "lr-asd",
    speaker: Speaker = SpeakerOf.none,
    cut: Cut = False,
    sheet: Sheet = True,
    store: GuessStore = None,
    jobs: Workers = None,
    ray: Ray = None,
    shard: ShardOf = None,
    retry_killers: RetryKillers = False,
    as_json: Json = False,
) -> None:
    """Cut long recordings into utterances, find out whose face talks, and leave out what is bad.

    Media stay where they are. The folder is a corpus for `teach`, `pretrain` and `distill`. A
    stopped run resumes when the command is given again, and new files cost only themselves.

    Example: `liser ingest videos/ --out corpus/`
    """
    from liser.cli.check_outputs import check_folder
    from liser.cli.output import print_json
    from liser.cli.workers import backend_of, shard_of
    from liser.ingest.ingest import in_this_process, ingest, on_workers
    from liser.ingest.source import IngestSettings

    check_folder("--out", out)
    settings = IngestSettings(out, faces, detector, None if network == "none" else network)
    backend = backend_of(jobs, ray)
    with _progress() as (advance, within):
        run = in_this_process(within) if backend is None else on_workers(backend)
        share = shard_of(shard)
        found = ingest(sources, settings, speaker.value, run, advance, share, retry_killers)
    record = {"corpus": str(out), "ingested": found.ingested, **found.summary}
    record["skipped"] = [
        {"source": s.id, "reason": s.reason, "detail": s.detail} for s in found.skipped
    ]
    record["not_media"] = [{"source": s.id, "reason": s.reason} for s in found.left_out]
    if cut:
        record["cut"] = _cut(found)
    if sheet:
        record["sheet"] = str(_sheet(found, store))
    if as_json:
        print_json(record)
    else:
        _print(record, found)


@contextmanager
def _progress() -> Iterator[tuple[Callable[[int, int], None], Callable[[str, float, float], None]]]:
    """Show how many sources are done, and how far the present one has come."""
    from liser.text.progress import duration, show_progress

    with show_progress() as add_task:
        task, counts = add_task("ingesting", None), [0, 0]

        def advance(done: int, total: int) -> None:
            counts[:] = [done, total]
            task.update(done, total, "ingesting")

        def within(path: str, done_s: float, total_s: float) -> None:
            where = f"{duration(done_s)} of {duration(total_s)}"
            task.update(counts[0], counts[1], f"ingesting {Path(path).name}, {where}")

        yield advance, within


def _cut(found: Ingested) -> int:
    from liser.ingest.clips import cut_clips
    from liser.ingest.manifest import write_manifest
    from liser.text.progress import show_progress

    with show_progress() as add_task:
        count = cut_clips(found.rows, found.corpus, add_task("cutting", None).update)
    write_manifest(found.rows, found.corpus)
    return count


def _sheet(found: Ingested, store: Path | None) -> Path:
    from liser.report.contact_sheet import contact_sheet
    from liser.text.progress import show_progress

    path = found.corpus / "sheet.html"
    with show_progress(transient=True) as add_task:
        task = add_task("contact sheet", None)
        contact_sheet(found.corpus, found.rows, found.summary, path, store, task.update)
    return path


def _print(record: dict[str, Any], found: Ingested) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    from liser.cli.corpora import left_out_note
    from liser.cli.tables import count_skips, show, skips_table
    from liser.text.escaping import markup
    from liser.text.progress import duration

    title = f"{record['corpus']}: {record['sources']} sources, {record['pieces']} pieces"
    table = Table(title=markup(title), box=SIMPLE)
    for column in ("used", "why not in full", "pieces", "length"):
        table.add_column(column, justify="right" if column in ("pieces", "length") else "left")
    for taken, counts in record["taken"].items():
        table.add_row(taken, "", str(counts["pieces"]), duration(counts["seconds"]))
        for reason in record["reasons"]:
            if reason["taken"] == taken:
                table.add_row("", markup(reason["reason"]), str(reason["pieces"]), "")
    show(table)
    if found.skipped:
        show(skips_table(count_skips(found.skipped), "sources that can't be used"))
    if found.left_out:
        show(left_out_note(found.left_out))
    for note in record["notes"]:
        show(markup(f"{Path(note['source']).name}: {note['note']}"))
    show(f"saved to {markup(record['corpus'])}")
    if "sheet" in record:
        show(f"contact sheet: {markup(record['sheet'])}")

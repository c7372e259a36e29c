"""`liser adapt`: your own emotions in seconds, from a few labelled clips, without PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liser.cli.options import Json
from liser.cli.predict import AllSound
from liser.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from liser.bundle import Bundle
    from liser.corpora.base import Skip


LabelledClips = Annotated[
    Path,
    typer.Option(
        metavar="FILE.csv|DIR",
        help="Labelled clips: a table with the columns path, label and, if known, speaker; or "
        "a folder whose folders are named by label.",
    ),
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the new model.")]
Parent = Annotated[
    Path | None,
    typer.Argument(metavar="BUNDLE", help="Folder of a model, as for predict. [default: default]"),
]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("adapt")(adapt_command)


def adapt_command(
    labels: LabelledClips,
    out: Out,
    bundle: Parent = None,
    all_sound: AllSound = False,
    as_json: Json = False,
) -> None:
    """Adapt a model to your own voices or emotions from a few labelled clips, in seconds.

    Five clips of each emotion are a good start. The new model knows the labels of the clips and no
    others; any names will do. It can be used wherever a model can.

    Example: `liser adapt --labels few.csv --out mine/`
    """
    from liser.cli.corpora import print_synonyms
    from liser.cli.output import console, print_json
    from liser.cli.predict import open_recognizer
    from liser.cli.tables import show
    from liser.corpora.labelled import labelled_clips
    from liser.runtime.adapt import adapt_to_corpus
    from liser.runtime.recognizer import bundle_folder
    from liser.text.progress import show_progress

    parent = bundle_folder(bundle)
    replaces = _check_out(out, parent)
    corpus = labelled_clips(labels)
    print_synonyms(corpus)
    if replaces:
        console.print(f"replaces the bundle in {out}", highlight=False, markup=False)
    recognizer = open_recognizer(bundle, 1, all_sound, False, None)
    with show_progress(transient=True) as add_task:
        labelled = sum(u.label is not None for u in corpus.utterances)
        task = add_task("reading clips", labelled)
        adapted, skipped = adapt_to_corpus(recognizer, corpus, task.advance)
    saved = adapted.save(out)
    record = saved.provenance["adapted"][-1]
    if as_json:
        named = [{"id": s.id, "reason": s.reason, "detail": s.detail} for s in skipped]
        facts = {"bundle": str(out), "threshold": saved.threshold}
        print_json({**facts, **record, "skipped": named})
    else:
        show(*_parts(saved, record, skipped))


def _check_out(out: Path, parent: Path) -> bool:
    """Return whether a bundle is replaced; refuse a folder that can't be written to."""
    from liser.cli.check_outputs import check_folder
    from liser.folders import BUNDLE

    if out.resolve() == parent.resolve():
        raise InputError(f"--out {out} is the model that is adapted: give another folder")
    found = BUNDLE.check(out)
    check_folder("--out", out)
    return found


def _parts(
    bundle: Bundle, record: dict[str, Any], skipped: Sequence[Skip]
) -> Iterator[RenderableType]:
    from liser.cli.tables import skipped_table
    from liser.text.escaping import markup

    yield _table(record)
    left_out = record["left_out"]
    if left_out is not None:
        what = "speakers" if left_out["by_speaker"] else "clips"
        yield (
            f"UAR on {what} left out of the fit: {left_out['uar']:.2f}; "
            f"of {markup(record['parent']['name'])}: {left_out['uar_before']:.2f}"
        )
    yield from map(markup, record["notes"])
    if skipped:
        yield skipped_table(skipped)
    size = bundle.graph.stat().st_size
    yield markup(f"{bundle.folder}: {len(bundle.labels)} labels, {size / 1000:,.0f} kB")


def _table(record: dict[str, Any]) -> Table:
    """Show how many clips each label has."""
    from rich.box import SIMPLE
    from rich.table import Table

    from liser.text.escaping import markup

    table = Table(box=SIMPLE)
    table.add_column("label")
    table.add_column("clips", justify="right")
    for label, count in record["labels"].items():
        table.add_row(markup(label), str(count))
    return table

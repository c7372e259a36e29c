"""`liser faces`: what the video road finds in each clip."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liser.cli.options import Json

if TYPE_CHECKING:
    from liser.corpora.base import Skip
    from liser.teachers.face_summary import FaceSummary


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("faces")(summarise_faces)


def summarise_faces(
    paths: Annotated[
        list[Path], typer.Argument(metavar="VIDEO…", help="Videos, or folders of them.")
    ],
    detector: Annotated[
        str,
        typer.Option(
            metavar="NAME[:FILE]", help="Face detector: {detectors}; yunet:FILE for own weights."
        ),
    ] = "yunet",
    expression: Annotated[
        str | None,
        typer.Option(
            metavar="NET",
            help="Expression net: {nets}, or FILE.onnx:spec=SPEC, where SPEC is FILE.json or one of "
            "{specs}; without it, the .json file beside the net.",
        ),
    ] = None,
    frames_per_second: Annotated[
        float, typer.Option(min=0.01, max=240.0, help="Frames looked at, a second.")
    ] = 5.0,
    save_crops: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write each clip's faces as one picture.")
    ] = None,
    json: Json = False,
) -> None:
    """Print what face was found in each clip, and what an expression net says of it.

    Example: `liser faces talks/ --expression net.onnx:spec=face-api --save-crops crops/`
    """
    from liser.cli.options import progress
    from liser.corpora.base import Skip
    from liser.media.detectors import detector_of
    from liser.teachers.face import FaceReader
    from liser.teachers.face_summary import check_crops, video_files
    from liser.teachers.face_summary import summarise_faces as look

    files = video_files(paths)  # before anything is downloaded
    if save_crops is not None:
        check_crops(save_crops)
    name, _, weights = detector.partition(":")
    face_detector = detector_of(name, weights or None)
    net = None
    if expression is not None:
        from liser.teachers.expression import ExpressionNet
        from liser.teachers.spec import read_options, split_options

        weights, text = split_options(expression)
        options = read_options(text, ["spec"], f"--expression {weights}")
        net = ExpressionNet(weights, options.get("spec"), face_detector, frames_per_second)
    found: list[FaceSummary] = []
    skipped: list[Skip] = []
    with progress("looking for faces", len(files)) as update:
        for clip in look(files, FaceReader(face_detector, frames_per_second), net, save_crops):
            if isinstance(clip, Skip):
                skipped.append(clip)
            else:
                found.append(clip)
            update(len(found) + len(skipped), len(files), "looking for faces")
    if json:
        _print_json(found, skipped)
    else:
        _print(found, skipped)


def _print_json(found: list[FaceSummary], skipped: list[Skip]) -> None:
    from dataclasses import asdict

    from liser.cli.output import print_json

    clips = [{**asdict(clip), "emotion": clip.emotion} for clip in found]
    print_json({"clips": clips, "skipped": [asdict(skip) for skip in skipped]})


def _print(found: list[FaceSummary], skipped: list[Skip]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    from liser.cli.options import show, skips, skips_table
    from liser.media.faces import which
    from liser.text.escaping import markup

    table = Table(box=SIMPLE)
    table.add_column("clip")
    for column in ("frames", "with face", "score", "steadiness", "faces"):
        table.add_column(column, justify="right")
    with_net = any(clip.posteriors for clip in found)
    labelled = any(clip.intended for clip in found)
    for heading in ("expression",) * with_net + ("intended",) * labelled:
        table.add_column(heading)
    for clip in found:
        cells = [str(clip.frames), str(clip.found), f"{clip.score:.2f}", f"{clip.steadiness:.2f}"]
        several = f": {which(clip.taken, clip.faces)}" if clip.faces > 1 else ""
        cells.append(f"{clip.faces}{several}")
        if with_net and clip.posteriors and clip.emotion:
            cells.append(f"{markup(clip.emotion)} {clip.posteriors[clip.emotion]:.2f}")
        if labelled:
            cells.append(clip.intended or "")
        table.add_row(markup(clip.clip), *cells)
    show(table, _sum_up(found, len(skipped)))
    if skipped:
        show(skips_table(skips(skipped)))


def _sum_up(found: list[FaceSummary], skipped: int) -> str:
    """Say in a sentence how many clips and frames had a face, and how often the net agreed."""
    frames, seen = sum(clip.frames for clip in found), sum(clip.found for clip in found)
    text = f"{len(found)} of {len(found) + skipped} clips have a face, in {seen} of {frames} frames"
    several = sum(clip.faces > 1 for clip in found)
    if several:
        text += (
            f"; {several} with several faces at once: the surest, largest and most central one "
            "was taken, which --save-crops shows"
        )
    changing = sum(clip.changes > 0 for clip in found)
    if changing:
        text += f"; {changing} in which another face was taken where the first was gone"
    judged = [c for c in found if c.posteriors and c.intended in c.posteriors]
    if judged:
        right = sum(clip.emotion == clip.intended for clip in judged)
        text += (
            f"; the expression is the intended one in {right} of the {len(judged)} clips whose "
            "intended emotion the net knows"
        )
    return text

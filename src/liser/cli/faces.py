"""`liser faces`: which face is found in each video, and its expression."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liser.cli.options import Json

if TYPE_CHECKING:
    from liser.corpora.base import Skip
    from liser.media.detectors import FaceDetector
    from liser.teachers.expression import ExpressionNet
    from liser.teachers.face_summary import FaceSummary


Videos = Annotated[list[Path], typer.Argument(metavar="VIDEO…", help="Videos, or folders of them.")]
Detector = Annotated[
    str,
    typer.Option(
        metavar="NAME[:FILE]",
        help="Face detector: {detectors}; yunet:FILE for weights of your own.",
    ),
]
Net = Annotated[
    str | None,
    typer.Option(
        metavar="NET",
        help="Expression net: {nets}, or FILE.onnx:spec=SPEC, a FILE.json or one of {specs}; "
        "without a spec, the .json file beside the net.",
    ),
]
Spec = Annotated[
    str | None,
    typer.Option(metavar="SPEC", help="The expression net's spec, as in FILE.onnx:spec=SPEC."),
]
Rate = Annotated[float, typer.Option(min=0.01, max=240.0, help="Frames sampled per second.")]
Crops = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Save each clip's faces as one picture.")
]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("faces")(faces_command)


def faces_command(
    paths: Videos,
    detector: Detector = "yunet",
    expression: Net = None,
    spec: Spec = None,
    frames_per_second: Rate = 5.0,
    save_crops: Crops = None,
    as_json: Json = False,
) -> None:
    """Find the face in each video, and name its expression by an expression net.

    Example: `liser faces talks/ --expression net.onnx:spec=face-api --save-crops crops/`
    """
    from liser.corpora.base import Skip
    from liser.media.detectors import detector_of
    from liser.teachers.face import FaceReader
    from liser.teachers.face_summary import check_crops, summarise_faces, video_files
    from liser.text.progress import show_progress

    files = video_files(paths)  # before anything is downloaded
    if save_crops is not None:
        check_crops(save_crops)
    name, _, weights = detector.partition(":")
    face_detector = detector_of(name, weights or None)
    net = None
    if expression is not None:
        if spec is not None:
            expression = f"{expression}:spec={spec}"
        net = _expression_net(expression, face_detector, frames_per_second)
    found: list[FaceSummary] = []
    skipped: list[Skip] = []
    with show_progress(transient=True) as add_task:
        task = add_task("finding faces", len(files))
        reader = FaceReader(face_detector, frames_per_second)
        for clip in summarise_faces(files, reader, net, save_crops):
            if isinstance(clip, Skip):
                skipped.append(clip)
            else:
                found.append(clip)
            task.advance()
    if as_json:
        _print_json(found, skipped)
    else:
        _print(found, skipped)


def _expression_net(net: str, detector: FaceDetector, frames_per_second: float) -> ExpressionNet:
    from liser.teachers.expression import ExpressionNet
    from liser.teachers.spec import read_options, split_options

    weights, text = split_options(net)
    options = read_options(text, ["spec"], f"--expression {weights}")
    return ExpressionNet(weights, options.get("spec"), detector, frames_per_second)


def _print_json(found: list[FaceSummary], skipped: list[Skip]) -> None:
    from dataclasses import asdict

    from liser.cli.output import print_json

    clips = [{**asdict(clip), "emotion": clip.emotion} for clip in found]
    print_json({"clips": clips, "skipped": [asdict(skip) for skip in skipped]})


def _print(found: list[FaceSummary], skipped: list[Skip]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    from liser.cli.tables import count_skips, show, skips_table
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
        row = [str(clip.frames), str(clip.found), f"{clip.score:.2f}", f"{clip.steadiness:.2f}"]
        several = f": {which(clip.taken, clip.faces)}" if clip.faces > 1 else ""
        row.append(f"{clip.faces}{several}")
        if with_net and clip.posteriors and clip.emotion:
            row.append(f"{markup(clip.emotion)} {clip.posteriors[clip.emotion]:.2f}")
        if labelled:
            row.append(clip.intended or "")
        table.add_row(markup(clip.clip), *row)
    show(table, _summary(found, len(skipped)))
    if skipped:
        show(skips_table(count_skips(skipped)))


def _summary(found: list[FaceSummary], skipped: int) -> str:
    """Count the clips and frames with a face, and how often the expression is the intended one."""
    frames, with_face = sum(clip.frames for clip in found), sum(clip.found for clip in found)
    text = (
        f"{len(found)} of {len(found) + skipped} clips have a face, in {with_face} of {frames} "
        "frames"
    )
    several = sum(clip.faces > 1 for clip in found)
    if several:
        text += (
            f"; {several} with several faces at once: the surest, largest and most central one "
            "was taken, which --save-crops shows"
        )
    changing = sum(clip.changes > 0 for clip in found)
    if changing:
        text += f"; in {changing} the face disappeared and another one was taken"
    judged = [c for c in found if c.posteriors and c.intended in c.posteriors]
    if judged:
        right = sum(clip.emotion == clip.intended for clip in judged)
        text += (
            f"; the expression is the intended one in {right} of the {len(judged)} clips whose "
            "intended emotion the net knows"
        )
    return text

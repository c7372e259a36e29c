"""`liser pretrain`: make a backbone from a Whisper encoder and unlabelled recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liser.cli.options import (
    Corpora,
    Json,
    Kind,
    Seed,
    SettingsFile,
    Store,
    StudentSize,
    Updates,
    local_folder,
)
from liser.errors import InputError

if TYPE_CHECKING:
    from liser.config import PretrainingRecipe
    from liser.corpora.base import Corpus, Skip
    from liser.pretraining.frame_encoder import FrameEncoder
    from liser.pretraining.frame_store import FrameStore
    from liser.pretraining.segments import SegmentSource
    from liser.students.backbone import Backbone
    from liser.text.progress import AddTask


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("pretrain")(pretrain_command)


def pretrain_command(
    data: Corpora,
    encoder: Annotated[
        list[str],
        typer.Option(
            metavar="MODEL",
            help="A Whisper model: hub id or local folder. Given again: further encoders whose "
            "frames are learnt, Whisper models or {onnx_encoder}.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the backbone.")],
    kind: Kind = None,
    student: StudentSize = None,
    store: Store = "targets",
    updates: Updates = None,
    settings: SettingsFile = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Transfer the first layers of a Whisper encoder into a backbone; no label is used.

    The backbone then learns to predict the frames of that encoder and of any further ones.
    `liser distill --backbone DIR` starts from it. A stopped run resumes when the command is given
    again. The settings file holds the settings of `pretraining`, and a table `frontend`.

    Example: `liser pretrain recordings/ --encoder openai/whisper-base --out backbone/`
    """
    from liser.cli.corpora import open_corpus
    from liser.cli.settings import check_student, settings_from
    from liser.config import PretrainingRecipe
    from liser.folders import BACKBONE

    recipe = settings_from(PretrainingRecipe, settings, {"updates": updates}, {})
    architecture = student or "base"
    check_student(architecture)
    BACKBONE.check(out)
    _refuse_finished(out)
    frames = local_folder(store)
    corpora = [open_corpus(folder, kind) for folder in data]
    backbone, skipped = _make(corpora, encoder, frames, architecture, recipe, seed, out)

    from liser.students.backbone import save_backbone

    save_backbone(backbone, out)
    (out / "checkpoint.pt").unlink(missing_ok=True)
    record = {"backbone": str(out), "student": architecture, **backbone.provenance}
    _print(record, skipped, as_json)


def _refuse_finished(out: Path) -> None:
    if (out / "backbone.json").exists():
        raise InputError(f"{out} holds a backbone already: choose another folder, or delete it")


def _make(
    corpora: Sequence[Corpus],
    specs: Sequence[str],
    store: Path,
    architecture: str,
    recipe: PretrainingRecipe,
    seed: int,
    out: Path,
) -> tuple[Backbone, list[Skip]]:
    """Extract the encoders' frames and train the backbone; also return the skipped clips.

    Raises `StorageError` if another process is at work in `out`.
    """
    from liser import storage
    from liser.pretraining.encoders import frame_encoders
    from liser.pretraining.frame_store import FrameStore
    from liser.pretraining.train import build_for_transfer, pretrain
    from liser.text.progress import show_progress

    build_for_transfer(architecture, recipe.frontend.mels)  # refuses a student without such layers
    encoders, frames = frame_encoders(specs), FrameStore(store)
    names = " and ".join(encoder.name for encoder in encoders)
    storage.make_folder(out)
    with storage.held(out, wait=False), show_progress() as add_task:
        _refuse_finished(out)  # another process may have finished it meanwhile
        sources = _sources(corpora, encoders, store, frames, recipe, add_task)
        training = add_task("training the backbone", None)
        backbone = pretrain(
            sources,
            encoders,
            frames,
            architecture,
            recipe.pretraining,
            seed=seed,
            checkpoint=out / "checkpoint.pt",
            progress=lambda done, total, explained: training.update(
                done, total, f"training, {explained:.0%} of {names} explained"
            ),
        )
    return backbone, [skip for source in sources for skip in source.features.skipped]


def _sources(
    corpora: Sequence[Corpus],
    encoders: Sequence[FrameEncoder],
    store: Path,
    frames: FrameStore,
    recipe: PretrainingRecipe,
    add_task: AddTask,
) -> list[SegmentSource]:
    """Extract the clips' features and the encoders' frames, which `frames` stores."""
    from liser.pretraining.segments import precompute_frames, segment_sources, segments_of
    from liser.targets.store import TargetStore

    extracting = add_task("extracting features", sum(len(c.utterances) for c in corpora))
    sources = segment_sources(
        corpora,
        recipe.pretraining.encoder_frontend(recipe.frontend),
        lambda _: extracting.advance,
        sounds_by=TargetStore(store) if any(one.needs_audio for one in encoders) else None,
    )
    segments = [segment for source in sources for segment in segments_of(source)]
    for encoder in encoders:
        encoding = add_task(f"frames of {encoder.name}", len(segments))
        precompute_frames(segments, encoder, frames, encoding.advance)
    return sources


def _print(record: dict[str, Any], skipped: Sequence[Skip], as_json: bool) -> None:
    from liser.cli.output import print_json
    from liser.cli.tables import count_skips, facts_table, show, skips_table

    record["skipped"] = count_skips(skipped)
    if as_json:
        print_json(record)
        return
    clips = ", ".join(f"{n} clips of {name}" for name, n in record["clips"].items())
    too_short = sum(record["too_short"].values())
    show(
        facts_table(
            {
                "encoder": f"{record['encoder']}; the backbone explains "
                f"{record['explained']:.0%} of its frames of augmented clips",
                "trained on": clips + (f"; {too_short} are too short" if too_short else ""),
                "encoder's input": _inputs(record["clips"], record["of_sound"]),
                **_further(record),
                "saved to": record["backbone"],
            }
        )
    )
    if skipped:
        show(skips_table(record["skipped"]))


def _further(record: Mapping[str, Any]) -> dict[str, str]:
    """Tell of each further encoder how much of its frames is explained, and of which clips."""
    explained = record.get("explained_by_encoder", {})
    facts = {}
    for number, one in enumerate(record.get("further_encoders", []), 2):
        share = explained[number - 1]
        known = "none of its clips in the last round" if share is None else f"{share:.0%}"
        clips = ", ".join(f"{n} clips of {name}" for name, n in one["clips"].items())
        facts[f"encoder {number}"] = f"{one['encoder']}; {known} explained; frames of {clips}"
    return facts


def _inputs(clips: Mapping[str, int], of_sound: Mapping[str, int]) -> str:
    """Count the clips that the encoder got as sound, and those as the student's log-mel."""
    sound = sum(of_sound.values())
    counts = {"sound": sound, "the student's log-mel": sum(clips.values()) - sound}
    return ", ".join(f"{what} of {n} clips" for what, n in counts.items() if n)

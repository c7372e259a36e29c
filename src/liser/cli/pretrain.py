"""`liser pretrain`: let a student-to-be inherit from a speech representation model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liser.cli.options import Json, Kind, Seed, SettingsFile, Store, StudentSize, Updates
from liser.errors import InputError

if TYPE_CHECKING:
    from liser.corpora.base import Skip


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("pretrain")(pretrain)


def pretrain(
    data: Annotated[
        list[Path], typer.Argument(metavar="DATA…", help="Corpora: folders or manifests.")
    ],
    encoder: Annotated[
        str, typer.Option(metavar="MODEL", help="A Whisper model: hub id or local folder.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The backbone's folder.")],
    kind: Kind = None,
    student: StudentSize = None,
    store: Store = Path("targets"),
    updates: Updates = None,
    settings: SettingsFile = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Let a student inherit a Whisper encoder's first layers; no label is used.

    The result, a backbone, is where `liser distill --backbone DIR` starts. A run that was stopped goes
    on where it was. The settings file holds names of `pretraining`, and a table `frontend`.

    Example: `liser pretrain recordings/ --encoder openai/whisper-base --out backbone/`
    """
    from liser.cli.options import check_student, open_corpus, progress, settings_from
    from liser.config import PretrainingRecipe
    from liser.folders import BACKBONE

    recipe = settings_from(PretrainingRecipe, settings, {"updates": updates}, {})
    chosen, frontend = recipe.pretraining, recipe.frontend
    architecture = student or "base"
    check_student(architecture)
    BACKBONE.check(out)
    if (out / "backbone.json").exists():
        raise InputError(f"{out} holds a backbone already: choose another folder, or delete it")
    corpora = [open_corpus(folder, kind) for folder in data]

    from liser.pretraining import train as stage
    from liser.pretraining.frame_store import FrameStore
    from liser.pretraining.segments import precompute_frames, segment_sources, segments_of
    from liser.pretraining.whisper import Whisper
    from liser.students.backbone import save_backbone

    stage.build_for_transfer(architecture, frontend.mels)  # or refused before any work
    whisper, frames = Whisper(encoder), FrameStore(store)
    total = sum(len(corpus.utterances) for corpus in corpora)
    with progress("hearing the clips", total) as update:
        heard_one = _counter(update, total, "hearing the clips")
        heard = segment_sources(corpora, chosen.encoder_frontend(frontend), lambda _: heard_one)
        sound = [one for source in heard for one in segments_of(source)]
        precompute_frames(
            sound, whisper, frames, _counter(update, len(sound), f"{whisper.name} listens")
        )
        backbone = stage.pretrain(
            heard,
            whisper,
            frames,
            architecture,
            chosen,
            seed=seed,
            checkpoint=out / "checkpoint.pt",
            progress=lambda done, total, explained: update(
                done, total, f"inheriting, {explained:.0%} of {whisper.name} explained"
            ),
        )
    save_backbone(backbone, out)
    (out / "checkpoint.pt").unlink(missing_ok=True)
    skipped = [s for source in heard for s in source.features.skipped]
    _tell({"backbone": str(out), "student": architecture, **backbone.provenance}, skipped, as_json)


def _counter(
    update: Callable[[int, int | None, str], None], total: int, what: str
) -> Callable[[], None]:
    """Return what to call after each clip, so that the bar counts it."""
    done = count(1)
    return lambda: update(next(done), total, what)


def _heard(clips: Mapping[str, int], of_sound: Mapping[str, int]) -> str:
    """Say of how many clips the encoder heard the sound, and of how many the student's log-mel."""
    close = sum(of_sound.values())
    parts = ((close, "the sound"), (sum(clips.values()) - close, "the student's log-mel"))
    return ", ".join(f"{what} of {count} clips" for count, what in parts if count)


def _tell(record: dict[str, Any], skipped: Sequence[Skip], as_json: bool) -> None:
    from liser.cli.options import facts, show, skips, skips_table
    from liser.cli.output import print_json

    record["skipped"] = skips(skipped)
    if as_json:
        print_json(record)
        return
    short = sum(record["too_short"].values())
    show(
        facts(
            {
                "inherited from": f"{record['encoder']}, {record['explained']:.0%} of what it says "
                "of disturbed clips",
                "listened to": ", ".join(
                    f"{n} clips of {name}" for name, n in record["clips"].items()
                )
                + (f"; {short} are too short" if short else ""),
                "the encoder heard": _heard(record["clips"], record["of_sound"]),
                "kept in": record["backbone"],
            }
        )
    )
    if skipped:
        show(skips_table(record["skipped"]))

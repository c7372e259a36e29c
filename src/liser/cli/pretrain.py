"""`liser pretrain`: let a student to be inherit from a speech representation model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from liser.cli.options import Json, Seed, SettingsFile, Store, StudentSize, Updates
from liser.errors import InputError


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
    out: Annotated[Path, typer.Option(metavar="DIR", help="The trunk's folder.")],
    student: StudentSize = None,
    store: Store = Path("targets"),
    updates: Updates = None,
    settings: SettingsFile = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Let a student to be inherit a Whisper encoder's first layers; no label is used.

    The result, a trunk, is where `liser distill --trunk DIR` starts. A run that was stopped goes
    on where it was. The settings file holds names of `pretraining`.

    Example: `liser pretrain recordings/ --encoder openai/whisper-base --out trunk/`
    """
    from liser.cli.options import check_student, facts, open_corpus, progress, settings_from, show
    from liser.cli.output import print_json
    from liser.config import Frontend, Pretraining

    chosen = settings_from(Pretraining, settings, {"updates": updates}, {})
    kind = student or "base"
    check_student(kind)
    if (out / "trunk.json").exists():
        raise InputError(f"{out} holds a trunk already: choose another folder, or delete it")
    corpora = [open_corpus(folder, None) for folder in data]

    import numpy as np

    from liser import pretrain as stage
    from liser.frame_store import FrameStore
    from liser.students.hearing import hear
    from liser.students.trunk import save_trunk
    from liser.students.whisper import Whisper

    whisper = Whisper(encoder)
    with progress("listening to the clips", None) as update:
        heard = []
        for corpus in corpora:
            clips = hear(corpus.utterances, Frontend())
            heard.append(stage.Heard(clips, np.flatnonzero(clips.heard), corpus.name))
        trunk = stage.pretrain(
            heard,
            whisper,
            FrameStore(store),
            kind,
            chosen,
            seed=seed,
            checkpoint=out / "checkpoint.pt",
            watch=lambda done, total, explained: update(
                done, total, f"inheriting, {explained:.0%} of {whisper.name} explained"
            ),
        )
    save_trunk(trunk, out)
    (out / "checkpoint.pt").unlink(missing_ok=True)
    skipped = [s for source in heard for s in source.clips.skipped]
    record = {
        "trunk": str(out),
        "student": kind,
        **trunk.provenance,
        "skipped": [{"id": s.id, "reason": s.reason} for s in skipped],
    }
    if as_json:
        print_json(record)
        return
    show(
        facts(
            {
                "inherited from": f"{whisper.name}, {record['explained']:.0%} of its variance "
                "on disturbed clips",
                "listened to": ", ".join(
                    f"{n} clips of {name}" for name, n in record["clips"].items()
                ),
                "skipped": f"{len(skipped)} clips" if skipped else "none",
                "kept in": str(out),
            }
        )
    )

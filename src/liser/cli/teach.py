"""`liser teach`: compute the teachers' outputs for a corpus, and store them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from liser.cli.options import (
    Data,
    FaceTeacher,
    Json,
    Kind,
    Ray,
    RetryKillers,
    SettingsFile,
    ShardOf,
    SpeechTeacher,
    Store,
    Workers,
)
from liser.errors import InputError

if TYPE_CHECKING:
    from liser.corpora.base import Corpus, Skip
    from liser.targets.targets import Targets


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("teach")(teach_command)


def teach_command(
    data: Data,
    speech_teacher: SpeechTeacher = None,
    face_teacher: FaceTeacher = None,
    store: Store = "targets",
    kind: Kind = None,
    jobs: Workers = None,
    ray: Ray = None,
    shard: ShardOf = None,
    retry_killers: RetryKillers = False,
    settings: SettingsFile = None,
    as_json: Json = False,
) -> None:
    """Ask teachers about every clip of a corpus, once, and store their outputs.

    A stopped run resumes when the command is given again. A second run only reads the store.

    Example: `liser teach recordings/ --speech-teacher openai/whisper-base --face-teacher hog`
    """
    from liser.cli.corpora import open_corpus
    from liser.cli.output import print_json
    from liser.cli.settings import settings_from
    from liser.cli.teachers import ask_teachers, teacher_records
    from liser.cli.workers import backend_of
    from liser.config import Settings

    if not speech_teacher and not face_teacher:
        raise InputError("there is no teacher: give --speech-teacher, --face-teacher, or both")
    settings_from(Settings, settings, {}, {})  # this verb has no settings: only [command] may stand
    backend = backend_of(jobs, ray)
    corpus = _share(open_corpus(data, kind), shard)
    targets: list[Targets] = []
    if corpus.utterances or shard is None:  # a share of few clips may be empty
        targets = ask_teachers(corpus, store, speech_teacher, face_teacher, backend, retry_killers)
    record = {
        "corpus": corpus.name,
        "clips": len(corpus.utterances),
        "left_out": len(corpus.skipped),
        "not_media": [{"file": s.id, "reason": s.reason} for s in corpus.left_out],
        "store": store,
        "shard": shard,
        "teachers": teacher_records(targets),
    }
    if as_json:
        print_json(record)
    else:
        _print(record, corpus.left_out)


def _share(corpus: Corpus, shard: str | None) -> Corpus:
    """Return the share of a corpus that `--shard` names."""
    from dataclasses import replace

    from liser.cli.workers import shard_of

    share = shard_of(shard)
    if share is None:
        return corpus
    return replace(corpus, utterances=tuple(u for u in corpus.utterances if u.id in share))


def _print(record: dict[str, Any], left_out: Sequence[Skip]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    from liser.cli.corpora import left_out_note
    from liser.cli.tables import show, skips_table
    from liser.text.escaping import markup

    table = Table(title=markup(f"{record['corpus']}: {record['clips']} clips"), box=SIMPLE)
    table.add_column("teacher")
    for column in ("usable", "computed now", "read from the store", "skipped"):
        table.add_column(column, justify="right")
    for t in record["teachers"]:
        skipped = sum(s["clips"] for s in t["skipped"])
        counts = (t["clips"], t["computed"], t["read"], skipped)
        table.add_row(markup(f"{t['modality']}: {t['teacher']}"), *map(str, counts))
    show(table)
    for t in record["teachers"]:
        if t["skipped"]:
            show(skips_table(t["skipped"], f"skipped by {t['teacher']}"))
        if t["notes"]:
            show(skips_table(t["notes"], f"notes by {t['teacher']}", "note"))
    if record["left_out"]:
        show(f"{record['left_out']} files are no clips of the corpus: see `liser corpus`")
    if left_out:
        show(left_out_note(left_out))
    show(f"saved to {markup(record['store'])}")

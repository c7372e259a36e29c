"""What several verbs share: their options, and how they read and tell."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from liser.errors import InputError
from liser.text.escaping import markup, visible

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from liser.config import Settings
    from liser.corpora.base import Corpus, Skip
    from liser.targets.targets import Targets

    SettingsT = TypeVar("SettingsT", bound=Settings)


def _command_table(context: typer.Context, path: Path | None) -> Path | None:
    """Take the settings file's table ``[command]`` as the command's defaults: flags win over it."""
    if path is None or context.resilient_parsing:
        return path
    from liser.config import read_toml

    known = {
        opt.lstrip("-").replace("-", "_"): parameter.name
        for parameter in context.command.params
        for opt in (*parameter.opts, *parameter.secondary_opts)
    }
    table = read_toml(path).get("command", {})
    if not isinstance(table, dict):
        raise InputError(f"settings file {path}: command = {table!r} is not a table of flags")
    many = {parameter.name for parameter in context.command.params if _is_repeatable(parameter)}
    defaults: dict[str, Any] = {}
    for key, value in table.items():
        name = known.get(key.replace("-", "_"))
        if name is None:
            raise InputError(
                f"settings file {path}: command.{key} is no flag of `{context.command_path}`, "
                f"which has {', '.join(sorted(known))}"
            )
        if name in many:
            defaults[name] = value if isinstance(value, list) else [value]
        else:
            defaults[name] = ",".join(map(str, value)) if isinstance(value, list) else value
    context.default_map = defaults
    return path


def _is_repeatable(parameter: Any) -> bool:
    return bool(getattr(parameter, "multiple", False))


Data = Annotated[Path, typer.Argument(metavar="DATA", help="The corpus's folder, or a manifest.")]
Kind = Annotated[
    str | None,
    typer.Option(help="Of the corpus: {corpora}; guessed from file names if left out."),
]
Labels = Annotated[
    Path | None, typer.Option(metavar="FILE.csv", help="Labels: columns id (or path) and label.")
]
SpeechTeacher = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEACHER",
        help="One of: {speech_teachers}. May be given again.",
    ),
]
FaceTeacher = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEACHER",
        help="One of: {face_teachers}. Detectors: {detectors}, yunet:FILE. May be given again.",
    ),
]
Store = Annotated[
    Path, typer.Option(metavar="DIR", help="Target store: what teachers said, kept for next time.")
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        metavar="FILE.toml",
        is_eager=True,
        callback=_command_table,
        help="Settings; its table [command] stands for flags. Flags win.",
    ),
]
Updates = Annotated[int | None, typer.Option(help="Weight updates of a training.")]
Encoder = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="A Whisper model that taught students inherit from: hub id or folder; needs a `base` "
        "student.",
    ),
]
StudentSize = Annotated[str | None, typer.Option(help="Architecture: {students}.")]
MOST_JOBS, HIGHEST_SEED = 256, 2**32 - 1

Jobs = Annotated[
    int, typer.Option(min=1, max=MOST_JOBS, help="Processes that train at the same time.")
]
Seed = Annotated[int, typer.Option(min=0, max=HIGHEST_SEED, help="Seed of all that is random.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def settings_from(
    kind: type[SettingsT], path: Path | None, flags: dict[str, Any], base: dict[str, Any]
) -> SettingsT:
    """Return settings: `base`, then the file's, then the flags that were given, by dotted names."""
    from liser.config import read_toml

    record = dict(base)
    if path is not None:
        said = {key: value for key, value in read_toml(path).items() if key != "command"}
        record = _overlaid(record, said)
    for dotted, value in flags.items():
        if value is None:
            continue
        *tables, name = dotted.split(".")
        place = record
        for table in tables:
            inner = place.get(table, {})
            if not isinstance(inner, dict):  # the reader names it
                break
            place[table] = place = dict(inner)
        else:
            place[name] = value
    return kind.read(record)


def _overlaid(base: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Lay a record's values over those of `base`, table by table."""
    merged = dict(base)
    for key, value in record.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            value = _overlaid(below, value)
        merged[key] = value
    return merged


def check_student(name: str) -> None:
    """Refuse an unknown student before teachers look at every clip."""
    from liser.students.registry import STUDENTS

    if name not in STUDENTS:
        raise InputError(f"no student is called {name!r}; there are {', '.join(STUDENTS)}")


def numbers(text: str | None, flag: str, kind: type[int] | type[float]) -> tuple[Any, ...] | None:
    """Read a comma-separated list of numbers; raises `InputError` that names the flag."""
    if text is None:
        return None
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        noun = "whole numbers" if kind is int else "numbers"
        raise InputError(f"{flag} {text!r} is not a list of {noun} such as 2,3") from None


def open_corpus(path: Path, kind: str | None, labels: Path | None = None) -> Corpus:
    """Load a corpus, with the labels of a table if one is given; say so if its kind is guessed."""
    from liser.cli.output import console
    from liser.corpora.registry import guess_corpus, load_corpus

    chosen = kind or guess_corpus(path)
    if kind is None:
        console.print(f"kind: {chosen} (guessed from the file names; --kind says otherwise)")
    corpus = load_corpus(chosen, path)
    tell_synonyms(corpus)
    return labelled(corpus, labels)


def labelled(corpus: Corpus, table: Path | None) -> Corpus:
    """Return the corpus with the labels of a table, if there is one."""
    from liser.corpora.labelled import label_from

    if table is None:
        return corpus
    corpus = label_from(corpus, table)
    tell_synonyms(corpus)
    return corpus


def tell_synonyms(corpus: Corpus) -> None:
    """Say, once, which labels are taken for emotions of another name."""

    from liser.cli.output import console

    if corpus.synonyms:
        told = ", ".join(f"{name} as {label}" for name, label in corpus.synonyms)
        console.print(f"labels: taking {markup(told)}", highlight=False)


_NOTED = 3
_LEFT_OUT = {
    "not media": ("file that isn't media", "files that aren't media"),
    "hidden": ("hidden file", "hidden files"),
    "same file": ("other name of the same file", "other names of the same files"),
}


def left_out_note(left_out: Sequence[Skip]) -> str:
    """Count, in a line, what is plainly nothing to hear, and name some of it."""

    parts = []
    for reason, n in Counter(skip.reason for skip in left_out).items():
        what = _LEFT_OUT.get(reason, (reason, reason))[n > 1]
        some = [skip.id for skip in left_out if skip.reason == reason][:_NOTED]
        parts.append(f"{n} {what} ({', '.join(some)}{', …' if n > len(some) else ''})")
    return markup(f"left out: {'; '.join(parts)}")


def ask_teachers(
    corpus: Corpus,
    store: Path,
    speech: Sequence[str] | None,
    face: Sequence[str] | None,
) -> list[Targets]:
    """Return the targets of the teachers with these specs, from the store where it has them."""
    from liser.targets.store import TargetStore
    from liser.targets.teach import teach
    from liser.teachers.registry import teachers

    targets = TargetStore(store)
    return [teach(corpus, teacher, targets) for teacher in teachers(speech or (), face or ())]


def taught(targets: Sequence[Targets]) -> list[dict[str, Any]]:
    """Sum up, in plain values, what teachers said."""
    return [
        {
            "teacher": t.teacher,
            "modality": t.modality,
            "fingerprint": t.fingerprint,
            "clips": int(t.valid.sum()),
            "computed": t.computed,
            "damaged": t.damaged,
            "read": max(0, len(t.ids) - t.computed),
            "skipped": skips(t.skipped),
            "notes": _notes(t),
        }
        for t in targets
    ]


def skips(skipped: Sequence[Skip]) -> list[dict[str, Any]]:
    """Count skipped clips by reason, the commonest first, each with an example."""
    first = {skip.reason: skip for skip in reversed(skipped)}
    return [
        {"reason": reason, "clips": n, "example": f"{first[reason].id}: {first[reason].detail}"}
        for reason, n in Counter(skip.reason for skip in skipped).most_common()
    ]


def _notes(targets: Targets) -> list[dict[str, Any]]:
    """Count clips by what their teacher noted, the commonest first, each with an example."""
    noted = [(note, clip) for clip, notes in targets.notes.items() for note in notes]
    first = dict(reversed(noted))
    return [
        {"note": note, "clips": n, "example": first[note]}
        for note, n in Counter(note for note, _ in noted).most_common()
    ]


def skips_table(
    records: Sequence[dict[str, Any]], title: str = "skipped", what: str = "reason"
) -> Table:
    """Lay `skips` out for people, or other counts of clips by `what`."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=markup(title), box=SIMPLE)
    for column in (what, "clips", "such as"):
        table.add_column(column, justify="right" if column == "clips" else "left")
    for record in records:
        table.add_row(markup(record[what]), str(record["clips"]), markup(record["example"]))
    return table


def facts(rows: dict[str, str]) -> Table:
    """Lay out names and values in two columns."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        grid.add_row(f"[bold]{name}[/]", markup(value))
    return grid


def show(*parts: RenderableType, beside: bool = False) -> None:
    """Print for people: on stdout, or `beside` it, on stderr, where it holds something else."""
    from liser.text.terminal import Terminal

    out = Terminal(stderr=beside)
    if not out.is_terminal:
        out = Terminal(stderr=beside, width=120)  # a file or a pipe has room
    for part in parts:
        out.print(part, highlight=False)


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int, int | None, str], None]]:
    """Show a bar on stderr; gives what tells it how much is done, of how many, and what is done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    from liser.cli.output import console

    said = TextColumn("{task.description}", markup=False)
    columns = (said, BarColumn(), MofNCompleteColumn(), TimeLeft())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(visible(what), total=total)
        yield lambda done, of, now: bar.update(
            task, completed=done, total=of, description=visible(now)
        )


@contextmanager
def training(what: str) -> Iterator[Callable[[int, int, float], None]]:
    """Show a training's rounds and its latest score on the validation speakers, on stderr."""
    with progress("listening to the clips", None) as update:
        yield lambda done, total, score: update(
            done, total, f"{what}, UAR {score:.3f}" if score > 0 else what
        )


def relative(text: str, base: Path) -> str:
    """Take a folder's own path out of a message, so that it reads the same on any machine."""
    return text.replace(f"{base}{os.sep}", "").replace(f"{base.absolute()}{os.sep}", "")

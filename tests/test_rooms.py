"""Rooms import lower ones only: data flows one way, and so do imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

import liser

SOURCE = Path(liser.__file__).parent
ORDER = (
    *("errors", "labels", "posteriors", "text", "storage", "fingerprint", "folders", "config"),
    *("workers", "bundle", "weights", "models", "metrics"),
    *("media", "corpora", "teachers", "targets", "runtime"),
    *("students", "pretraining", "distillation", "export", "evaluation", "compress"),
    *("benchmark", "report", "demo", "cli", "__main__"),
)
"""Rooms and modules of `liser`, the lowest first."""

UPWARD = {("liser.benchmark.demo", "report")}
"""The demo runs the whole way, from clips to a report."""


def imports() -> Iterator[tuple[str, str]]:
    """Yield (module, module that it imports), wherever in the file the import is."""
    for path in SOURCE.rglob("*.py"):
        parts = ("liser", *path.relative_to(SOURCE).with_suffix("").parts)
        module = ".".join(parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "liser":
                yield from ((module, f"liser.{alias.name}") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield module, node.module or ""
            elif isinstance(node, ast.Import):
                yield from ((module, alias.name) for alias in node.names)


def room_of(module: str) -> str:
    first, *rest = module.split(".")
    return rest[0] if first == "liser" and rest else ""


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py"}
    rooms |= {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    assert rooms - {"__init__"} <= set(ORDER)


def test_no_import_goes_back_up() -> None:
    places = {room: place for place, room in enumerate(ORDER)}
    found = [
        f"{module} imports {other}"
        for module, other in imports()
        if room_of(module) and room_of(other) in places
        if places[room_of(other)] > places[room_of(module)]
        if (module, room_of(other)) not in UPWARD
    ]
    assert not found, "; ".join(found)


def test_relative_imports_hide_nothing() -> None:
    """The other tests read absolute imports only."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path

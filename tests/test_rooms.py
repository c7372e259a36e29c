"""The order of the rooms, in which data flow: a room imports from earlier ones only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "liser"

ROOMS = (
    "errors",
    "labels",
    "storage",
    "fingerprint",
    "systems",
    "posteriors",
    "text",
    "folders",
    "workers",
    "config",
    "weights",
    "metrics",
    "bundle",
    "media",
    "corpora",
    "runtime",
    "teachers",
    "targets",
    "students",
    "pretraining",
    "distillation",
    "export",
    "evaluation",
    "compress",
    "report",
    "benchmark",
    "cli",
    "__main__",
)
"""Modules and folders of `liser`, from the lowest to the highest."""

MODULES = sorted(SOURCE.rglob("*.py"))


def room_of(name: str) -> str:
    """Return the room of a module, ``""`` for the package itself."""
    return name.split(".")[1] if "." in name else ""


def name_of(file: Path) -> str:
    parts = ("liser", *file.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


def imports_of(file: Path) -> Iterator[str]:
    """Yield the modules of `liser` that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively: write the module's full name"
            module = node.module or ""
            if module == "liser":
                yield from (f"liser.{alias.name}" for alias in node.names)
            else:
                yield module


def test_every_room_has_its_place() -> None:
    rooms = {room_of(name_of(file)) for file in MODULES} - {""}
    assert rooms == set(ROOMS), "add the new room to ROOMS, after all that it imports from"


@pytest.mark.parametrize("file", MODULES, ids=lambda file: name_of(file))
def test_a_module_imports_no_later_room(file: Path) -> None:
    own = room_of(name_of(file))
    if not own:  # the package itself offers the runtime lazily
        return
    for name in imports_of(file):
        if not name.startswith("liser.") or name == "liser.__version__":
            continue
        other = room_of(name)
        assert ROOMS.index(other) <= ROOMS.index(own), (
            f"{name_of(file)} imports {name}, but the room {own!r} comes before {other!r}: move "
            f"what both need to {own!r} or lower, or pass it as an argument"
        )

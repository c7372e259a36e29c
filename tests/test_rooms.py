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
    "scale",
    "config",
    "weights",
    "metrics",
    "bundle",
    "model_card",
    "onnx_file",
    "adaptation",
    "media",
    "corpora",
    "runtime",
    "ingest",
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

UNKNOWN = "?"
"""Stands for a module that a variable names."""

MODULES = sorted(SOURCE.rglob("*.py"))


def room_of(name: str) -> str:
    """Return the room of a module, ``""`` for the package itself."""
    return name.split(".")[1] if "." in name else ""


def name_of(file: Path) -> str:
    parts = ("liser", *file.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


def imports_of(source: str) -> Iterator[str]:
    """Yield the modules of `liser` that a module's source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "this imports relatively: write the module's full name"
            module = node.module or ""
            if module == "liser":
                yield from (f"liser.{alias.name}" for alias in node.names)
            else:
                yield module
        elif isinstance(node, ast.Call) and node.args and _is_import_module(node.func):
            name = node.args[0]
            yield str(name.value) if isinstance(name, ast.Constant) else UNKNOWN


def _is_import_module(function: ast.expr) -> bool:
    return "import_module" in (getattr(function, "id", ""), getattr(function, "attr", ""))


def later_imports(source: str, own: str) -> list[str]:
    """Return what a module of the room `own` imports from later rooms."""
    place = ROOMS.index(own)
    names = (name for name in imports_of(source) if name.startswith("liser."))
    return [n for n in names if n != "liser.__version__" and ROOMS.index(room_of(n)) > place]


def test_every_room_has_its_place() -> None:
    rooms = {room_of(name_of(file)) for file in MODULES} - {""}
    assert rooms == set(ROOMS), "add the new room to ROOMS, after all that it imports from"


@pytest.mark.parametrize("file", MODULES, ids=lambda file: name_of(file))
def test_a_module_imports_no_later_room(file: Path) -> None:
    own = room_of(name_of(file))
    if not own:  # the package itself offers the runtime lazily
        return
    later = later_imports(file.read_text("utf-8"), own)
    assert not later, (
        f"{name_of(file)} imports {', '.join(later)}, but the room {own!r} comes before: move what "
        f"both need to {own!r} or lower, or pass it as an argument"
    )


@pytest.mark.parametrize(
    "form",
    [
        "import liser.{room}",
        "import os, liser.{room}.part as part",
        "from liser import {room}",
        "from liser.{room} import Part",
        "from liser.{room}.part import Part",
        "def work():\n    from liser.{room} import Part",
        "class Worker:\n    def work(self):\n        import liser.{room}",
        "if TYPE_CHECKING:\n    from liser.{room} import Part",
        "try:\n    import liser.{room}\nexcept ImportError:\n    pass",
        "from importlib import import_module\nimport_module('liser.{room}.part')",
        "def work():\n    return importlib.import_module('liser.{room}')",
    ],
)
def test_an_import_that_runs_back_up_is_found_in_every_room(form: str) -> None:
    for place, own in enumerate(ROOMS):
        for other_place, other in enumerate(ROOMS):
            found = later_imports(form.format(room=other), own)
            assert len(found) == (other_place > place), (own, other)


def test_only_the_command_line_imports_what_a_variable_names() -> None:
    variable = {
        room_of(name_of(file)) for file in MODULES if UNKNOWN in imports_of(file.read_text("utf-8"))
    }
    assert variable <= {"cli"}, "this test can't see what is imported"


def test_every_room_below_is_used_from_above() -> None:
    """A room that nothing imports is in a wrong place, or dead."""
    used = {
        room_of(name)
        for file in MODULES
        for name in imports_of(file.read_text("utf-8"))
        if name.startswith("liser.") and room_of(name) != room_of(name_of(file))
    }
    assert set(ROOMS) - used <= {"__main__"}


def test_relative_imports_are_refused() -> None:
    with pytest.raises(AssertionError, match="relatively"):
        list(imports_of("from . import part"))

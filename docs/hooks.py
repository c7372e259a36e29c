"""Pages of the documentation that are made from the code, and equations without a script.

MkDocs calls the functions whose names begin with ``on_``. None of them needs the network.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import typer
from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files
from pydantic_core import PydanticUndefined

import liser
from liser import config as settings
from liser.cli.app import app
from liser.cli.choices import filled

SOURCE = Path(liser.__file__).parent
_MATH = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_config(config: Any) -> Any:
    """List the pages of the Python API in the navigation."""
    pages = [{room: f"reference/api/{room}.md"} for room in rooms()]
    return _fill(config, pages)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made from the code."""
    files.append(File.generated(config, "reference/cli.md", content=cli_page()))
    files.append(File.generated(config, "reference/settings.md", content=settings_page()))
    for room, modules in rooms().items():
        text = f"# {room}\n\n" + "\n\n".join(f"::: {module}" for module in modules) + "\n"
        files.append(File.generated(config, f"reference/api/{room}.md", content=text))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Turn TeX into MathML, which browsers draw themselves."""

    def mathml(match: re.Match[str]) -> str:
        display: Literal["block", "inline"] = "block" if match[1] == "div" else "inline"
        return convert(unescape(match[2]).strip(), display=display)

    return _MATH.sub(mathml, html)


def rooms() -> dict[str, list[str]]:
    """Return the public modules of each room: of the package itself, and of every folder."""
    found = {"liser": ["liser"]}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts[0] in ("cli", "__init__") or any(part.startswith("_") for part in parts[:-1]):
            continue
        module = ".".join(("liser", *(part for part in parts if part != "__init__")))
        if not parts[-1].startswith("_") or (parts[-1] == "__init__" and _documents(path)):
            found.setdefault(f"liser.{parts[0]}" if len(parts) > 1 else "liser", []).append(module)
    return found


def _documents(path: Path) -> bool:
    """Tell a package that holds something from one that only has a docstring."""
    return "__all__" in path.read_text("utf-8") or "\ndef " in path.read_text("utf-8")


def _fill(config: Any, pages: list[dict[str, str]]) -> Any:
    for section in config.nav:
        for entry in section.get("Reference", []):
            if "Python API" in entry:
                entry["Python API"] = pages
    return config


def cli_page() -> str:
    """Write every verb's help as Markdown."""
    group: Any = typer.main.get_command(app)
    lines = [
        "# Command line",
        "",
        "Every verb has `--help` and `--json`. Tables and JSON go to stdout, progress and messages "
        "to stderr. [Files and exit statuses](files.md) says what is written, and how a stopped "
        "command goes on.",
        "",
        "| verb | |",
        "|---|---|",
    ]
    lines += [
        f"| [`{name}`](#{name}) | {_plain(command.help or '').splitlines()[0]} |"
        for name, command in group.commands.items()
    ]
    for name, command in group.commands.items():
        lines += ["", f"## {name}", "", _plain(command.help or ""), "", *_parameters(command)]
    return "\n".join(lines) + "\n"


def _parameters(command: Any) -> Iterator[str]:
    yield "| argument or flag | value | |"
    yield "|---|---|---|"
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or parameter.name == "help":
            continue
        argument = parameter.param_type_name == "argument"
        value = parameter.metavar or _type_name(parameter)
        names = [value] if argument else [*parameter.opts, *parameter.secondary_opts]
        text = _plain(filled(getattr(parameter, "help", None) or ""))
        default = parameter.default
        if default not in (None, False, (), []) and not callable(default):
            text += f" Default: `{_word(default)}`."
        shown = "" if argument or getattr(parameter, "is_flag", False) else f"`{value}`"
        yield _row(" ".join(f"`{name}`" for name in names), shown, text)


def _type_name(parameter: Any) -> str:
    """Return the name of a parameter's type, of any version of typer."""
    if known := getattr(parameter, "type", None):
        return str(known.name)
    kind = parameter.type_descriptor.annotation
    return (
        "number" if kind in (int, float) else "text" if kind is str else str(kind.__name__).lower()
    )


def _word(default: Any) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _row(*cells: str) -> str:
    return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"


def _plain(text: str) -> str:
    """Take out rich's marks, and indentation."""
    text = re.sub(r"\[/?(?:b|bold|red|dim|i|italic)\]", "", text)
    return "\n".join(line.strip() for line in text.strip().splitlines())


def settings_page() -> str:
    """Write every settings class: name, type, default and meaning of its fields."""
    documented = _attribute_docstrings()
    lines = [
        "# Settings",
        "",
        "`--settings FILE.toml` holds these. A nested class is a table of the file: `updates` of "
        "`Training` is `training.updates`. The table `[command]` stands for flags; flags win over "
        "the file. An unknown name, or a value out of range, is an error that names it. The file "
        "has at most 1 MB.",
    ]
    for name, kind in vars(settings).items():
        if not _is_settings(kind):
            continue
        lines += ["", f"## {name}", "", (kind.__doc__ or "").strip().replace("\n    ", "\n"), ""]
        lines += ["| setting | type | default | |", "|---|---|---|---|"]
        for field, info in kind.model_fields.items():
            meaning = documented.get((_owner(kind, field), field), "")
            lines.append(_row(f"`{field}`", _type(info), _default(info), meaning))
    return "\n".join(lines) + "\n"


def _is_settings(kind: Any) -> bool:
    base = settings.Settings
    return isinstance(kind, type) and issubclass(kind, base) and kind is not base


def _owner(kind: type, field: str) -> str:
    """Return the class that declares the field, which has its docstring."""
    classes = (c for c in kind.__mro__ if field in inspect.get_annotations(c))
    return next(classes).__name__


def _attribute_docstrings() -> dict[tuple[str, str], str]:
    """Return the text below each field, by class and field."""
    found = {}
    for node in ast.parse(Path(settings.__file__).read_text("utf-8")).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for field, text in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                found[node.name, field.target.id] = " ".join(str(text.value.value).split())
    return found


def _type(info: Any) -> str:
    kinds = get_args(info.annotation) if _is_union(info.annotation) else (info.annotation,)
    limits = [repr(m) for m in info.metadata if not callable(m)]
    return " or ".join(map(_kind, kinds)) + "".join(f", {_limit(one)}" for one in limits)


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) is UnionType or str(get_origin(annotation)) == "typing.Union"


def _kind(kind: Any) -> str:
    if kind is type(None):
        return "nothing"
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) is tuple:
        return f"list of {_kind(get_args(kind)[0])}"
    if hasattr(kind, "__metadata__"):
        return _kind(get_args(kind)[0])
    name = getattr(kind, "__name__", str(kind))
    return f"[{name}](#{name.lower()})" if _is_settings(kind) else f"`{name}`"


def _limit(text: str) -> str:
    signs = {"Ge": "≥", "Gt": ">", "Le": "≤", "Lt": "<", "MinLen": "length ≥"}
    match = re.fullmatch(r"(\w+)\(\w+=(.*)\)", text)
    return f"{signs.get(match[1], match[1])} {match[2]}" if match else ""


def _default(info: Any) -> str:
    if info.default is PydanticUndefined:
        return "needed"
    if isinstance(info.default, settings.Settings):
        return ""
    return f"`{list(info.default) if isinstance(info.default, tuple) else info.default}`"

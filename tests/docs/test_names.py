"""No page names a verb, flag, module, setting, file or message that the project hasn't."""

import ast
import importlib
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from doc_pages import PAGES, ROOT, anchors, blocks, commands, name, prose, spans

from liser import config
from liser.cli.app import app
from liser.errors import InputError

OTHER_FLAGS = {"--local-dir", "--index-url", "--upgrade", "--check", "--table", "--help"}
"""Flags of other programs, and `--help`, which every command has."""
RECIPES = (
    *(config.Distillation, config.Protocol, config.PretrainingRecipe, config.CrossCorpusRecipe),
    *(config.Training, config.Compression),
)
GENERATED = ("docs/reference/cli.md", "docs/reference/settings.md", "docs/reference/api/")
LINKED = (*PAGES, ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "results" / "README.md")
SETTING = re.compile(r"(?<![.\w/])(frontend|heads|loss|training|pretraining)\.([a-z]\w+)\b")
PARAMETERS = pytest.mark.parametrize("page", PAGES, ids=name)


@cache
def verbs() -> dict[str, set[str]]:
    """Return the flags of every verb."""
    group: Any = typer.main.get_command(app)
    return {
        verb: {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)}
        for verb, command in group.commands.items()
    }


@PARAMETERS
def test_verbs_and_flags_exist(page: Path) -> None:
    shells = [b.code for b in blocks(page) if b.language == "sh"]
    lines = [line for code in shells for line in commands(code)] + spans(page)
    for line in lines:
        for verb, rest in re.findall(r"(?:^|\| )liser ([a-z-]+)(.*)", line):
            assert verb in verbs(), f"`{line}`: there is no verb {verb}"
            for flag in re.findall(r"(?<=\s)--[\w-]+", rest):
                assert flag in verbs()[verb] | OTHER_FLAGS, f"`{line}`: {verb} has no {flag}"
        if line.startswith("--"):
            every = set().union(*verbs().values()) | OTHER_FLAGS
            for flag in re.findall(r"--[\w-]+", line):
                assert flag in every, f"`{line}`: no verb has {flag}"


@PARAMETERS
def test_modules_and_what_is_imported_from_them_exist(page: Path) -> None:
    for span in spans(page):
        if re.fullmatch(r"liser(\.\w+)+", span):
            resolve(span)
    for block in blocks(page):
        if block.language == "python":
            for node in ast.walk(ast.parse(block.code)):
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith("liser"):
                    for alias in node.names:
                        resolve(f"{node.module}.{alias.name}")


def resolve(dotted: str) -> None:
    """Import a module, or a module's attribute; an AssertionError says that it isn't there."""
    try:
        importlib.import_module(dotted)
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("liser"):
            pytest.skip(f"{error.name} is not installed")
        module, _, attribute = dotted.rpartition(".")
        found = importlib.import_module(module)
        assert hasattr(found, attribute), f"there is no {dotted}"


@PARAMETERS
def test_settings_exist(page: Path) -> None:
    for table, key in re.findall(SETTING, prose(page)):
        owner = config.Protocol() if table == "pretraining" else config.Distillation()
        assert hasattr(getattr(owner, table), key), f"there is no setting {table}.{key}"
    for block in blocks(page):
        if block.language == "toml":
            record = tomllib.loads(block.code)
            flags = set(record.pop("command", {}))
            known = {flag.strip("-").replace("-", "_") for f in verbs().values() for flag in f}
            assert flags <= known, f"no verb has the flags {flags - known}"
            assert any(reads(kind, record) for kind in RECIPES), f"no recipe is {record}"


def reads(kind: type[config.Settings], record: dict[str, Any]) -> bool:
    try:
        kind.read(record)
    except InputError:
        return False
    return True


@PARAMETERS
def test_files_exist(page: Path) -> None:
    for span in spans(page):
        if re.match(r"(benchmarks|docs|src|tests|liser)/\S+$", span) and "mycorpus" not in span:
            places = (ROOT / span, ROOT / "src" / span)
            assert any(p.exists() for p in places), f"there is no {span}"


@pytest.mark.parametrize("page", LINKED, ids=name)
def test_links_and_anchors_between_pages_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        place, _, anchor = target.partition("#")
        other = (page.parent / place).resolve() if place else page
        if name(other).startswith(GENERATED):
            classes = {kind.lower() for kind in vars(config)}
            assert not anchor or anchor in classes | set(verbs()), f"{target} leads nowhere"
            continue
        assert other.exists(), f"{target} leads nowhere"
        assert not anchor or anchor in anchors(other), f"{target}: no such heading"


def test_results_and_their_index_are_in_step() -> None:
    results = ROOT / "benchmarks" / "results"
    index = (results / "README.md").read_text("utf-8")
    listed = {
        span.removeprefix("archive/")
        for span in re.findall(r"`([\w/.-]+\.(?:jsonl?|toml|md))`", index)
    }
    files = [p for p in results.rglob("*") if p.is_file() and p.name != "README.md"]
    missing = {p.name for p in files} - listed
    assert not missing, f"the index leaves out {sorted(missing)}"
    for span in re.findall(r"`((?:archive/)?[\w-]+\.jsonl?)`", index):
        assert (results / span).exists(), f"the index lists {span}, which is not there"


def test_the_readme_is_short() -> None:
    assert len(PAGES[0].read_text("utf-8").split()) <= 900


def test_messages_that_troubleshooting_quotes_are_in_the_code() -> None:
    messages = "\n".join(texts())
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    cells = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    assert len(cells) > 20
    quoted = [span for cell in cells for span in re.findall(r"`([^`]+)`", cell)]
    assert not [words for words in quoted if words not in messages], "no message of the code"


def texts() -> list[str]:
    """Return every string of the code, parts of formatted ones joined by a gap."""
    found = ["HF_HUB_OFFLINE"]  # the library's
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = (getattr(p, "value", "\0") for p in node.values)
                found.append("".join(p if isinstance(p, str) else "\0" for p in parts))
    return found

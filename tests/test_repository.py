"""The files around the code agree with it: one version, and instructions that can be followed."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import liser

ROOT = Path(__file__).parents[1]


def test_there_is_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    source = (ROOT / project["tool"]["hatch"]["version"]["path"]).read_text("utf-8")
    assert f'__version__ = "{liser.__version__}"' in source
    assert f"\nversion: {liser.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    printed = subprocess.check_output([sys.executable, "-m", "liser", "--version"], text=True)
    assert printed.strip() == liser.__version__


def test_contributing_names_files_commands_and_tables_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    files = {
        *re.findall(r"`((?:src|tests|\.ci)/[\w./]+)`", text),
        *re.findall(r"\]\(([^)\s]+)", text),
    }
    missing = [file for file in files if not (ROOT / file).exists()]
    assert all("mine" in file for file in missing), missing
    targets = (ROOT / "Makefile").read_text("utf-8")
    assert all(f"\n{target}:" in targets for target in re.findall(r"make (test|check|\w+)`", text))
    for table, file in re.findall(r"`([A-Z_]+)`[^`]* of\s+`([\w/.]+)`", text):
        assert f"\n{table}" in (ROOT / file).read_text("utf-8"), (table, file)

"""What the tests of the documentation share: its pages, their code blocks and their headings."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
_FENCE = re.compile(
    r"(?:^<!-- test: (?P<mark>.*?) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A code block: its language, its text, and what the comment before it says of its test."""

    language: str
    code: str
    mark: str


def name(page: Path) -> str:
    """Return the page's path in the project."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page in order."""
    found = _FENCE.finditer(page.read_text("utf-8"))
    return [Block(m["language"], m["code"], m["mark"] or "") for m in found]


def prose(page: Path) -> str:
    """Return the text of a page without its code blocks."""
    return _FENCE.sub("", page.read_text("utf-8"))


def spans(page: Path) -> list[str]:
    """Return what stands between single backticks outside of code blocks."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(page))


def commands(code: str) -> list[str]:
    """Return the commands of a shell block: without comments, continued lines made one."""
    joined = re.sub(r"\\\n\s*", " ", code)
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MkDocs make them."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        words = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        found.add(re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", words).strip().lower()))
    return found

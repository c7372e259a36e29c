"""Where the verbs write: messages to stderr, tables and JSON to stdout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from liser.cli.check_outputs import goes_to_stdout
from liser.storage import write_bytes
from liser.text.escaping import json_text
from liser.text.terminal import Terminal

console = Terminal(stderr=True)


def print_json(record: Any) -> None:
    """Write one JSON document to stdout."""
    sys.stdout.write(json_text(record, sys.stdout.encoding) + "\n")


def write_table(path: Path, content: bytes) -> None:
    """Write a CSV file, or its bytes to stdout, whose encoding doesn't matter."""
    if goes_to_stdout(path):
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        write_bytes(path, content)

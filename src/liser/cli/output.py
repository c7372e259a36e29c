"""Where the verbs write: people's messages to stderr, tables and JSON to stdout."""

import json
import sys
from typing import Any

from rich.console import Console

console = Console(stderr=True)


def print_json(record: Any) -> None:
    """Write one JSON document to stdout, for machines."""
    sys.stdout.write(json.dumps(record, indent=2, ensure_ascii=False, default=str) + "\n")

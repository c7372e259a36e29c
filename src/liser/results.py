"""The results record on disk: JSON for machines, and beside it a page for people."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from liser.errors import StorageError
from liser.report import report


def write_results(
    results: dict[str, Any],
    record: Path,
    page: Path | None = None,
    to_page: Callable[[dict[str, Any], Path], None] = report,
) -> None:
    """Write the record as JSON and, if a path is given, as an HTML page.

    Raises:
        StorageError: a file can't be written.
    """
    part = record.with_name(f"{record.name}.part")
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", "utf-8")
        part.replace(record)
    except OSError as error:
        raise StorageError(f"can't write the results to {record}: {error}") from error
    if page is not None:
        to_page(results, page)

"""Write a results record as JSON, and as an HTML page."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from liser import storage
from liser.report.benchmark import report


def write_results(
    results: dict[str, Any],
    record: Path,
    page: Path | None = None,
    write_page: Callable[[dict[str, Any], Path], None] = report,
) -> None:
    """Write the record as JSON and, if a path is given, as an HTML page.

    Raises:
        StorageError: a file can't be written.
    """
    storage.write_json(record, results, indent=1)
    if page is not None:
        write_page(results, page)

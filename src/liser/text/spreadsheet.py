"""CSV files that are safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from liser.text.escaping import spreadsheet_cell


def csv_of(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    r"""Return a CSV file in UTF-8 with a header; no cell is a formula (`spreadsheet_cell`).

    >>> csv_of(["file", "p_sad"], [{"file": "=1+1.wav", "p_sad": -0.5}])
    b"file,p_sad\r\n'=1+1.wav,-0.5\r\n"
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(map(spreadsheet_cell, columns))
    writer.writerows([spreadsheet_cell(row[column]) for column in columns] for row in rows)
    return text.getvalue().encode()

"""Write a CSV file with a row for every piece of speech in a folder of recordings.

    python examples/predict_folder.py recordings/ emotions.csv

Each row has the file, the start and end in seconds, the emotion and its probability. The base
package is enough: `pip install liser`.
"""

import csv
import sys
from pathlib import Path

import liser
from liser.corpora.files import find_media
from liser.errors import LiserError, MediaError


def main(folder: Path, table: Path) -> None:
    recognizer = liser.load()  # the bundled model; a bundle's folder loads your own
    with table.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "start_s", "end_s", "emotion", "probability"))
        for recording in find_media(folder).media:
            name = recording.path.relative_to(folder)
            try:
                prediction = recognizer.predict(recording.path)
            except MediaError as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
                continue
            for segment in prediction.segments:
                times = f"{segment.start_s:.2f}", f"{segment.end_s:.2f}"
                best = max(segment.probabilities.values())
                rows.writerow((name, *times, segment.label, f"{best:.3f}"))


if __name__ == "__main__":
    try:
        main(*map(Path, sys.argv[1:]))
    except (LiserError, TypeError) as error:
        sys.exit(f"error: {error}")

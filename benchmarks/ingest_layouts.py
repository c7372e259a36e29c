"""How well `liser ingest` does, as tables."""

from collections.abc import Sequence

from liser.corpora.registry import corpus_title
from markdown_table import Record, table


def shares(results: Record) -> str:
    """Lay out the shares of `ingest.json`'s rows on the actors that chose no limit, with bars."""
    lines = []
    for row in results["rows"]:
        group = row["group"].removeprefix("others").strip(":, ") or "utterances alone"
        if not row["group"].startswith("others") or "error" in row["row"]:
            continue
        interval = f" ({row['low']:.1%}–{row['high']:.1%})" if "low" in row else ""
        bar = f"{row['bar']:.0%}" if row.get("bar") else ""
        lines.append([row["row"], group, f"{row['value']:.1%}{interval}", bar])
    return "\n".join(table(["", "recordings", "share", "aim"], lines)) + "\n"


def who_talks(results: Record) -> str:
    """Lay out who talks by kind of scene, on the actor that chose nothing, with bars."""
    heads = ["scenes", "utterances", "recall", "precision", "nobody, rightly", "aim"]
    lines = [
        [
            row["kind"],
            str(row["utterances"]),
            *(_share(row, name) for name in ("recall", "precision", "rejected")),
            row["bar"].replace("rejected", "nobody"),
        ]
        for row in results["rows"]
        if row.get("actors") == "test" and "utterances" in row
    ]
    return "\n".join(table(heads, lines)) + "\n"


def students(results: Record) -> str:
    """Lay out students of ingested recordings beside students of the clips, by corpus."""
    heads = ["corpus", "student of", "UAR, whole files", "less the clips", "cut to speech", "less"]
    lines = []
    for corpus, run in results.items():
        rows = [row for row in run["rows"] if row["row"] == "UAR"]
        for name in dict.fromkeys(row["student of"] for row in rows):
            cells = []
            for row in (row for row in rows if row["student of"] == name):
                less = ""
                if "less clips" in row:
                    span = f"{row['less_low']:.3f} to {row['less_high']:.3f}"
                    less = f"{row['less clips']:.3f} ({span})"
                cells += [f"{row['uar']:.3f} ({row['low']:.3f}–{row['high']:.3f})", less]
            lines.append([corpus_title(corpus), name, *cells])
    lines = [[cell.replace("-", "−") for cell in line] for line in lines]
    notes = [_pieces(corpus_title(corpus), run["rows"]) for corpus, run in results.items()]
    return "\n".join([*table(heads, lines), "", " ".join(notes)]) + "\n"


def _pieces(corpus: str, rows: Sequence[Record]) -> str:
    row = next(row for row in rows if row["row"] == "pieces")
    faces = any("faces" in row.get("student of", "") for row in rows)
    seen = f", {row['with their talking face']} with their talking face" if faces else ""
    return f"{corpus}: {row['used']} of {row['clips']} utterances are used{seen}."


def _share(row: Record, name: str) -> str:
    if name not in row:
        return ""
    low, high = row[f"{name} interval"]
    return f"{row[name]:.0%} ({low:.0%}–{high:.0%})"

"""Layouts of `speed.json`, which `layouts.py` names."""

from collections.abc import Sequence

from markdown_table import Record, table


def speed(results: Record) -> str:
    """Lay out the milliseconds of every system by length and threads, and where they go."""
    tables = (
        _times(results["rows"]),
        _ratios(results["ratios"]),
        _parts(results["where"]),
        _long_recordings(results["runtime"]),
    )
    machine = results["machine"]
    note = f"{machine['cpu']}, {machine['cores']} cores; ONNX Runtime {machine['onnxruntime']}."
    return "\n\n".join(["\n".join(lines) for lines in tables] + [note]) + "\n"


def _times(rows: Sequence[Record]) -> list[str]:
    at = {(r["system"], r["threads"], r["duration_s"]): r for r in rows}
    columns = list(dict.fromkeys((r["threads"], r["duration_s"]) for r in rows))
    heads = ["ms, median (least)"] + [
        f"{seconds:g} s, {threads} thread{'s' * (threads > 1)}" for threads, seconds in columns
    ]
    lines = [
        [
            name.replace("_", " "),
            *(
                f"{at[name, *place]['ms_median']:.2f} ({at[name, *place]['ms_min']:.2f})"
                for place in columns
            ),
        ]
        for name in dict.fromkeys(r["system"] for r in rows)
    ]
    return table(heads, lines)


def _ratios(ratios: Sequence[Record]) -> list[str]:
    lines = [
        [one["name"].replace("_", " "), f"{one['median']:.0f}", f"{one['min']:.0f}"]
        for one in ratios
        if (one["threads"], one["duration_s"]) == (1, 3.0)
    ]
    return table(["how many times faster, 3 s, 1 thread", "by the median", "by the least"], lines)


def _parts(rows: Sequence[Record]) -> list[str]:
    heads = [
        "3 s, 1 thread, least",
        "front end, ms (million MACs)",
        "student, ms (million MACs)",
        "an empty call, ms",
        "billion MACs a second",
        "a product of matrices, in floats and in 8 bits",
    ]
    lines = [
        [
            row["system"].replace("_", " "),
            f"{row['front_end_ms']:.2f} ({row['front_end_million_macs']:.1f})",
            f"{row['student_ms']:.2f} ({row['student_million_macs']:.1f})",
            f"{row['empty_call_ms']:.3f}",
            f"{row['giga_macs_per_s']:.0f}",
            " and ".join(f"{value:.0f}" for value in row["machine_giga_macs_per_s"].values()),
        ]
        for row in rows
    ]
    return table(heads, lines)


def _long_recordings(rows: Sequence[Record]) -> list[str]:
    lines = [
        [
            f"{row['duration_s'] / 60:g} min",
            f"{row['seconds']:.2f}",
            f"{row['ms_per_second']:.2f}",
            f"{row['peak_memory_mb']:.0f}",
        ]
        for row in rows
    ]
    return table(["the whole runtime", "seconds", "ms for each second", "peak memory, MB"], lines)


def speed_brief(results: Record) -> str:
    """Lay out the milliseconds on one thread, and how much faster the 8-bit student is."""
    rows = [row for row in results["rows"] if row["threads"] == 1]
    lengths = list(dict.fromkeys(row["duration_s"] for row in rows))
    at = {(row["system"], row["duration_s"]): f"{row['ms_median']:.2f}" for row in rows}
    lines = [
        [name.replace("_", " "), *(at[name, seconds] for seconds in lengths)]
        for name in dict.fromkeys(row["system"] for row in rows)
    ]
    faster = {
        one["name"].partition(" ÷ ")[0].replace("_", " "): one["median"]
        for one in results["ratios"]
        if (one["threads"], one["duration_s"]) == (1, 3.0) and one["name"].endswith("int8")
    }
    ratios = ", ".join(f"{value:.0f} times as fast as {name}" for name, value in faster.items())
    hour = results["runtime"][-1]
    note = (
        f"Medians on one thread of an {results['machine']['cpu']}. For clips of 3 s the student in "
        f"8 bits is {ratios}. With voice activity detection, "
        f"{hour['duration_s'] / 60:g} minutes take {hour['seconds']:.0f} s and "
        f"{hour['peak_memory_mb']:.0f} MB."
    )
    heads = ["ms", *(f"{seconds:g} s" for seconds in lengths)]
    return "\n".join([*table(heads, lines), "", note]) + "\n"


def runtime(results: Record) -> str:
    """State in a sentence how long the whole runtime takes."""
    hour = results["runtime"][-1]
    return (
        f"{hour['duration_s'] / 60:g} minutes of speech take {hour['seconds']:.0f} s and "
        f"{hour['peak_memory_mb']:.0f} MB on one thread of an {results['machine']['cpu']}.\n"
    )

"""Layouts of `scale.json`, which `layouts.py` names."""

from markdown_table import Record, table


def simulation(results: Record) -> str:
    """Lay out what the queue costs its driver, and a journal its user."""
    one, journal = results["simulation"], results["journal"]
    counts = one["outcomes"]
    lines = [
        ["items; workers", f"{one['items']:,}; {one['workers']:,}"],
        ["mean time of an item", f"{one['mean_item_s']:g} s"],
        ["the whole takes, at best", f"{one['simulated_h']:.1f} h, {one['ideal_h']:.1f} h"],
        ["driver's CPU time", f"{one['driver_cpu_s']:.0f} s"],
        ["driver's CPU time, an item", f"{one['driver_us_an_item']:.1f} µs"],
        ["driver's memory", f"{one['driver_memory_mb']:.0f} MB"],
        ["items done", f"{counts['done']:,}"],
        ["of these after another try", f"{counts['tried again']:,}"],
        ["items quarantined", f"{counts['quarantined']:,}"],
        ["journal: write a record", f"{journal['append_us']:.0f} µs"],
        ["journal: read a record", f"{journal['read_us']:.0f} µs"],
        ["journal: a million records on disk", f"{journal['bytes_a_record']:,} MB"],
        [
            "journal: a million records in memory",
            f"{journal['memory_mb'] / journal['records'] * 1e6:,.0f} MB",
        ],
    ]
    return "\n".join(table(["", "simulated"], lines)) + "\n"


def overhead(results: Record) -> str:
    """Lay out how two workers compare with one."""
    lines = [
        [
            f"{one['backend']}, items that do {one['items']}".replace("do wait", "wait"),
            f"{one['a_second_1']:,.0f}",
            f"{one['a_second_2']:,.0f}",
            f"{one['speed_up']:.2f}",
        ]
        for one in results["overhead"]
    ]
    heads = ["items a second", "1 worker", "2 workers", "times as fast"]
    return "\n".join(table(heads, lines)) + "\n"

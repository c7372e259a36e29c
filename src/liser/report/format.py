"""Values of a record as text, for tables and pages."""

from collections.abc import Mapping
from typing import Any

from liser.systems import SYSTEMS


def share(labels: float) -> str:
    """Write a fraction of the labels in percent.

    >>> share(0.05), share(1)
    ('5 %', '100 %')
    """
    return f"{100 * labels:g} %"


def percentage(share: float | None) -> str:
    """Write a share in percent, without decimals.

    >>> percentage(0.875), percentage(None)
    ('88 %', '–')
    """
    return "–" if share is None else f"{100 * share:.0f} %"


def plain(record: Mapping[str, Any] | None, key: str) -> str:
    """Write a value without its interval; a dash where there is none."""
    value = record.get(key) if record else None
    return "–" if value is None else f"{value:.3f}"


def with_interval(record: Mapping[str, Any], key: str) -> str:
    """Write a value with its interval where it has one.

    >>> with_interval({"uar": 0.6123, "uar_low": 0.58, "uar_high": 0.6449}, "uar")
    '0.612 (0.580–0.645)'
    """
    if record.get(key) is None:
        return "–"
    prefix = "" if key == "value" else f"{key}_"
    low, high = record.get(f"{prefix}low"), record.get(f"{prefix}high")
    if low is None or high is None:
        return f"{record[key]:.3f}"
    between = " to " if low < 0 else "–"
    return f"{record[key]:.3f} ({low:.3f}{between}{high:.3f})".replace("-", "−")


def change(row: Mapping[str, Any], metric: str) -> str:
    """Write how far a metric is from that on clean sound, with its sign and its interval.

    >>> row = {"change": {"uar": 0.0123, "uar_low": -0.02, "uar_high": 0.041}}
    >>> change(row, "uar"), change({}, "uar")
    ('+0.012 (−0.020 to 0.041)', '–')
    """
    differences = row.get("change")
    if differences is None:
        return "–"
    sign = "+" if differences[metric] > 0 else ""
    return sign + with_interval(differences, metric).replace("-", "−")


def system_name(system: str) -> str:
    """Return what readers call a system; an unknown one is called by its name, with spaces."""
    if system in SYSTEMS:
        return SYSTEMS[system].title
    return system.replace("_", " ").capitalize()


def comparison_name(one: Mapping[str, Any]) -> str:
    """Name a comparison: its systems, their shares of the labels, and the operation.

    >>> comparison_name({"system_a": "distilled", "labels_a": 0.1, "system_b": "scratch",
    ...                  "labels_b": 1, "kind": "ratio", "speaker_adapted": True})
    'Distilled student, 10 % ÷ Student from scratch, 100 %; both speaker-adapted'
    """
    sign = "÷" if one["kind"] == "ratio" else "−"
    a = f"{system_name(one['system_a'])}, {share(one['labels_a'])}"
    b = f"{system_name(one['system_b'])}, {share(one['labels_b'])}"
    return f"{a} {sign} {b}{'; both speaker-adapted' if one.get('speaker_adapted') else ''}"

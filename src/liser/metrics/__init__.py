"""UAR, WA, macro-F1, calibration, and intervals by speaker."""

from liser.metrics.intervals import (
    interval,
    summary,
    summary_difference,
    uar_by_group,
    uar_difference_interval,
    uar_interval,
    uar_ratio_interval,
)
from liser.metrics.scores import (
    Scores,
    accuracy,
    confusion,
    ece,
    macro_f1,
    recalls,
    score,
    uar,
)

__all__ = [
    "Scores",
    "accuracy",
    "confusion",
    "ece",
    "interval",
    "macro_f1",
    "recalls",
    "score",
    "summary",
    "summary_difference",
    "uar",
    "uar_by_group",
    "uar_difference_interval",
    "uar_interval",
    "uar_ratio_interval",
]

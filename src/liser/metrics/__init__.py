"""UAR, WA, macro-F1, calibration, abstention, and intervals by speaker."""

from liser.metrics.abstention import (
    Answered,
    abstention_threshold,
    answered,
    aurc,
    risk_coverage,
)
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
    "Answered",
    "Scores",
    "abstention_threshold",
    "accuracy",
    "answered",
    "aurc",
    "confusion",
    "ece",
    "interval",
    "macro_f1",
    "recalls",
    "risk_coverage",
    "score",
    "summary",
    "summary_difference",
    "uar",
    "uar_by_group",
    "uar_difference_interval",
    "uar_interval",
    "uar_ratio_interval",
]

"""The protocol of a corpus: its kind's own defaults. Imports no PyTorch."""

from liser.config import Protocol
from liser.corpora.registry import CORPORA

FEW_LABELS = 0.1
"""The budget that is taken where only one can be."""


def protocol_for(kind: str, settings: Protocol | None = None) -> Protocol:
    """Return a corpus's protocol: `settings`, and where they are unset its kind's own defaults.

    `kind` is a name of `liser.corpora.registry.CORPORA`; others have no defaults of their own.
    If no ablation budget is among the budgets, the one nearest 10 % is taken.

    >>> protocol_for("cremad").folds, protocol_for("cremad", Protocol(folds=3)).folds
    (5, 3)
    """
    settings = settings or Protocol()
    given = settings.model_fields_set
    defaults = dict(CORPORA[kind].protocol) if kind in CORPORA else {}
    if "speakers_per_fold" in given:
        defaults.pop("folds", None)
    changes = {name: value for name, value in defaults.items() if name not in given}
    ablation = tuple(b for b in settings.ablation_budgets if b in settings.budgets)
    if settings.ablation_budgets and not ablation:
        ablation = (min(settings.budgets, key=lambda b: abs(b - FEW_LABELS)),)
    return settings.model_copy(update={**changes, "ablation_budgets": ablation})

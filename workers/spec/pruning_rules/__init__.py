"""Pruning rules by the name that ``early_stopping.kind`` gives; a new one is a file beside these and a line below."""

from workers.spec.pruning_rules.asha import AshaRule
from workers.spec.pruning_rules.hyperband import HyperbandRule
from workers.spec.pruning_rules.median import MedianRule
from workers.spec.pruning_rules.patience import PatienceRule
from workers.spec.pruning_rules.pruning_rule import Curve, EarlyStoppingOptions, PruningRule
from workers.spec.pruning_rules.threshold import ThresholdRule

PRUNING_RULES: dict[str, type[PruningRule]] = {
    "asha": AshaRule,
    "hyperband": HyperbandRule,
    "median": MedianRule,
    "patience": PatienceRule,
    "threshold": ThresholdRule,
}

__all__ = ["PRUNING_RULES", "Curve", "EarlyStoppingOptions", "PruningRule"]

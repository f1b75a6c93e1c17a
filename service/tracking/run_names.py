"""What runs and logged models are called in MLflow, so that a list or a legend says which is which."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

SYMBOLS = {
    "model.reflectors": "r",
    "model.reflectors_u": "u",
    "model.reflectors_v": "v",
    "model.margin": "m",
    "model.hidden_size": "n",
}
"""The symbols of fields that are swept often. Others are called by the last part of their path."""
_REFUSED = re.compile(r"[/:.%\"'`\\]")
LONGEST = 100
"""The largest number of characters of the part of a run's name that has the swept values."""


def run_name(number: int, params: Mapping[str, Any]) -> str:
    """Return the name of a trial's run, such as ``r16 m0.017 lr0.02 #7``: its swept values and its number."""
    parts = [_part(path, value) for path, value in params.items()]
    text = " ".join(parts)
    return f"{text if len(text) <= LONGEST else text[: LONGEST - 1] + '…'} #{number}".strip()


def model_name(sweep: str, number: int, step: int) -> str:
    """Return the name of the logged model of a trial's checkpoint, such as ``digits-margin-7-step-600``."""
    name = _REFUSED.sub("-", sweep).strip() or "sweep"
    return f"{name}-{number}-step-{step}"


def _part(path: str, value: Any) -> str:
    symbol = SYMBOLS.get(path, path.rpartition(".")[2])
    if isinstance(value, str):
        return value  # the names of kinds, activations and data sets speak for themselves
    if isinstance(value, bool):
        return symbol if value else f"no {symbol}"
    return f"{symbol}{value:.4g}" if isinstance(value, float) else f"{symbol}{value}"

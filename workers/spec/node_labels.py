"""Labels of nodes, and what a sweep may ask of them, in Ray's own form: ``{"ray.io/accelerator-type": "H100"}``."""

from __future__ import annotations

import re
from collections.abc import Mapping

MAX_LABELS = 16
"""The most labels that a sweep may ask for."""
_NAME = r"[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_PREFIX = re.compile(rf"{_NAME}(?:\.{_NAME})*")
_KEY = re.compile(rf"(?:([^/]{{1,253}})/)?({_NAME})")
_SELECTOR = re.compile(rf"(!?)(?:({_NAME})|in\(({_NAME}(?:, ?{_NAME})*)\))")
KEY_FORM = "a name of at most 63 letters, digits, -, _ and ., as in zone or ray.io/accelerator-type"
SELECTOR_FORM = "a value, as in H100, or one of !H100, in(H100, A100), !in(H100, A100)"


def is_label_key(key: str) -> bool:
    """Return whether a text can be the key of a label."""
    match = _KEY.fullmatch(key)
    return match is not None and (match[1] is None or _PREFIX.fullmatch(match[1]) is not None)


def is_label_selector(selector: str) -> bool:
    """Return whether a text can say which values of a label are wanted."""
    return _SELECTOR.fullmatch(selector) is not None


def has_labels(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Return whether a node is one that a sweep asks for.

    Args:
        labels: The labels of the node.
        wanted: A selector for each key. ``H100`` and ``in(H100, A100)`` want the label with this value or one of
            these; ``!H100`` and ``!in(H100, A100)`` want a node that has no such value, or not the label at all.
    """
    return all(_satisfies(labels.get(key), selector) for key, selector in wanted.items())


def _satisfies(value: str | None, selector: str) -> bool:
    match = _SELECTOR.fullmatch(selector)
    if match is None:
        return False
    values = [match[2]] if match[2] is not None else [part.strip() for part in match[3].split(",")]
    return (value in values) != bool(match[1])

"""Long curves with fewer points."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

_Item = TypeVar("_Item")


def thin(points: Iterable[_Item], most: int) -> list[_Item]:
    """Return every k-th of the points from the first on, and the last one, with the least k that is a power of two.

    At most ``most`` + 1 points, for ``most`` of at least 2, are kept at any time, however many there are.
    """
    kept: list[_Item] = []
    stride, last = 1, None
    for place, point in enumerate(points):
        if place % stride == 0:
            kept.append(point)
            last = None
            if len(kept) > most - 1 and len(kept) > 1:
                last = None if len(kept) % 2 else kept[-1]
                kept, stride = kept[::2], 2 * stride
        else:
            last = point
    return kept if last is None else [*kept, last]

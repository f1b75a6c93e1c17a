"""Long curves with fewer points."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class Thinned(Generic[_Item]):
    """Collects points and keeps every k-th from the first on, and the last one.

    ``k`` is the least power of two with which at most ``most`` + 1 points, for ``most`` of at least 2, are kept at any
    time, however many are added.
    """

    def __init__(self, most: int) -> None:
        self._most, self._kept, self._stride, self._count = most, list[_Item](), 1, 0
        self._last: _Item | None = None

    def add(self, point: _Item) -> None:
        """Take the next point, which is not None."""
        if self._count % self._stride == 0:
            self._kept.append(point)
            self._last = None
            if len(self._kept) > self._most - 1 and len(self._kept) > 1:
                self._last = None if len(self._kept) % 2 else self._kept[-1]
                self._kept, self._stride = self._kept[::2], 2 * self._stride
        else:
            self._last = point
        self._count += 1

    @property
    def points(self) -> list[_Item]:
        """The points that are kept, in the order in which they were added."""
        return self._kept if self._last is None else [*self._kept, self._last]


def thin(points: Iterable[_Item], most: int) -> list[_Item]:
    """Return every k-th of the points from the first on, and the last one, as ``Thinned`` does."""
    thinned = Thinned[_Item](most)
    for point in points:
        thinned.add(point)
    return thinned.points

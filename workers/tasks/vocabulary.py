"""Symbols of a text, words or characters, and the numbers they have as a task's tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

UNKNOWN, LINE_END = "<unk>", "<eos>"

Level = Literal["char", "word"]
"""What one symbol of a text is."""


@dataclass(frozen=True)
class Vocabulary:
    """``symbols[i]`` has id i. What is not among them has the id of ``<unk>``, where that is one of them."""

    symbols: tuple[str, ...]

    @classmethod
    def most_frequent(cls, text: Iterable[str], size: int) -> Vocabulary:
        """``<unk>`` and up to ``size`` - 1 others, by falling frequency, equal ones in their own order."""
        counts = Counter(text)
        counts.pop(UNKNOWN, None)
        ranked = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
        return cls((UNKNOWN, *ranked[: size - 1]))

    def ids(self, text: Iterable[str]) -> npt.NDArray[np.int64]:
        """Token ids. Raises ValueError for a symbol that is not known where there is no ``<unk>``."""
        found, unknown = [], self._numbers.get(UNKNOWN)
        for position, symbol in enumerate(text):
            number = self._numbers.get(symbol, unknown)
            if number is None:
                raise ValueError(f"its token {position + 1:,}, {symbol!r}, is not in the vocabulary")
            found.append(number)
        return np.array(found, dtype=np.int64)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {symbol: number for number, symbol in enumerate(self.symbols)}

"""The vocabulary of a text: its symbols, which are words or characters, and their numbers."""

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
"""Whether the symbols of a text are characters or words."""


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of a text: ``symbols[i]`` has the id i.

    If ``<unk>`` is one of them, a symbol that is not in the vocabulary gets the id of ``<unk>``.
    """

    symbols: tuple[str, ...]

    @classmethod
    def most_frequent(cls, text: Iterable[str], size: int) -> Vocabulary:
        """Return the vocabulary of ``<unk>`` and the ``size`` - 1 most frequent other symbols of a text, or all.

        Symbols are ordered by falling frequency, and those of equal frequency alphabetically.
        """
        counts = Counter(text)
        counts.pop(UNKNOWN, None)
        ranked = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
        return cls((UNKNOWN, *ranked[: size - 1]))

    def ids(self, text: Iterable[str]) -> npt.NDArray[np.int64]:
        """Return the ids of a text's symbols, (M,).

        Raises:
            ValueError: If a symbol is not in the vocabulary, and neither is ``<unk>``.
        """
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

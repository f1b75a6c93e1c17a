"""Lists of the service that are fetched page by page, while one goes through them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel

from service.client import frames

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T", bound=BaseModel)


class AsyncRows(Generic[T]):
    """A list of the service. Nothing is fetched before one goes through it, and every time it is fetched anew.

    Args:
        what: What is listed, in words.
        kind: The type of the entries.
        index: The field that names an entry in a table.
        fetch: A function that fetches the entries.
    """

    def __init__(self, what: str, kind: type[T], index: str, fetch: Callable[[], AsyncIterator[T]]) -> None:
        self._what, self._kind, self._index, self._fetch = what, kind, index, fetch

    def __aiter__(self) -> AsyncIterator[T]:
        return self._fetch()

    async def to_list(self) -> list[T]:
        """Fetch all entries, and return them."""
        return [entry async for entry in self]

    async def to_pandas(self) -> pd.DataFrame:
        """Fetch all entries, and return them as a table with a column for each swept field.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        return frames.table(await self.to_list(), self._index, self._kind)

    def __repr__(self) -> str:
        return f"<{self._what}; fetched by for, to_list() and to_pandas()>"


async def read_rows(pages: AsyncIterator[dict[str, Any]], entry_of: Callable[[Any], T]) -> AsyncIterator[T]:
    """Yield the entries of a list, each as ``entry_of`` makes it of the answer."""
    async for answer in pages:
        yield entry_of(answer)

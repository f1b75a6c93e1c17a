"""Tables of results for pandas, which is imported only here, when a table is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from service.schemas import TrialMetrics

if TYPE_CHECKING:
    import pandas as pd

LEFT_OUT = frozenset({"links", "repeats"})
"""Fields that no table shows."""


class MetricHistory(TrialMetrics):
    """A trial's metrics over its training, in order of step."""

    def to_pandas(self) -> pd.DataFrame:
        """Return a table with a row for each report, indexed by ``step``, with its time ``at`` and its metrics.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        rows = [{"step": point.step, "at": point.at, **point.values} for point in self.points]
        return frame(rows, index="step", columns=("step", "at", *self.keys))

    def __repr__(self) -> str:
        return f"<{len(self.points)} reports of {self.trial_id}, with {len(self.keys)} metrics>"

    __str__ = __repr__


def table(documents: Iterable[BaseModel], index: str, kind: type[BaseModel]) -> pd.DataFrame:
    """Return a table with a row for each document: first a column for each swept field, and then its other fields.

    Args:
        documents: Documents of one kind. Those inside them become columns such as ``counts.failed``.
        index: The field that names the rows.
        kind: The kind, whose fields are the columns if there is no document.

    Raises:
        ModuleNotFoundError: pandas is not installed.
    """
    rows = [_cells(document) for document in documents]
    empty = [name for name in kind.model_fields if name not in LEFT_OUT and name != "params"]
    return frame(rows, index, () if rows else empty)


def frame(rows: list[dict[str, Any]], index: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Return a table of these rows.

    Args:
        rows: The cells of each row by column. A row without a cell has none there.
        index: The column that names the rows.
        columns: The columns in order; empty for those of the rows, in the order in which they first occur.

    Raises:
        ModuleNotFoundError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        problem = "to_pandas needs pandas, which is not installed: pip install pandas"
        raise ModuleNotFoundError(problem, name=error.name) from error

    names = list(columns) or list(dict.fromkeys(name for row in rows for name in row))
    return pd.DataFrame(rows, columns=names).set_index(index)


def _cells(document: BaseModel) -> dict[str, Any]:
    fields = document.model_dump(exclude=set(LEFT_OUT))
    found: dict[str, Any] = fields.pop("params", {})
    for name, value in fields.items():
        if isinstance(value, dict):
            found |= {f"{name}.{inner}": of_inner for inner, of_inner in value.items()}
        else:
            found[name] = value
    return found

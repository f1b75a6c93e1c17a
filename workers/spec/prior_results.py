"""Results of earlier sweeps in the document of a sweep, from which its sampler begins to learn."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, FiniteFloat, WithJsonSchema

from workers.spec.base_spec import SpecPart
from workers.spec.search_space import Scalar

MAX_PRIOR_RESULTS = 1_000
"""The most results that are taken over: a document has to stay small, and a proposal quick."""
MAX_EARLIER_SWEEPS = 10
_ID = r"^sw[0-9a-f]{10}$"
_NAMES = {"type": "array", "items": {"type": "string", "pattern": _ID}, "minItems": 1, "maxItems": MAX_EARLIER_SWEEPS}


class PriorResult(SpecPart):
    """What a point of the space has reached in an earlier sweep."""

    params: dict[str, Scalar] = Field(description="the point")
    objective: FiniteFloat = Field(description="its objective")


def _listed(names: Any) -> Any:
    return [names] if isinstance(names, str) else names


class WarmStart(SpecPart):
    """Earlier sweeps from whose results the sampler learns, beside those of its own trials.

    The service reads them when the sweep is submitted, and stores them here: later the earlier sweeps do not count.
    """

    sweep: Annotated[
        list[Annotated[str, Field(pattern=_ID)]],
        BeforeValidator(_listed),
        WithJsonSchema({"anyOf": [{"type": "string", "pattern": _ID}, _NAMES]}),
    ] = Field(min_length=1, max_length=MAX_EARLIER_SWEEPS, description="the id of an earlier sweep, or a list of ids")
    results: list[PriorResult] = Field(
        default=[], max_length=MAX_PRIOR_RESULTS, description="their results; the service fills them in: leave it out"
    )
    left_out: int = Field(
        default=0, ge=0, description="how many results lie outside of the space; the service fills it in"
    )
    differences: list[str] = Field(
        default=[], description="how training differs from this sweep's; the service fills it in"
    )

"""``/v1/early-stopping``: the pruning rules that a sweep can choose from."""

from __future__ import annotations

from fastapi import APIRouter

from service import schemas
from service.api.strict_query import Known
from workers.spec.pruning_rules import PRUNING_RULES

router = APIRouter(prefix="/v1", tags=["catalogue"], dependencies=[Known])


@router.get("/early-stopping")
def list_pruning_rules() -> list[schemas.PruningRuleView]:
    """Return the rules that end trials early, each with a summary and its options as a JSON schema."""
    return [
        schemas.PruningRuleView(name=name, summary=rule.summary, json_schema=rule.json_schema(name))
        for name, rule in PRUNING_RULES.items()
    ]

"""Probes and the cluster: what was last seen of each part, and whether sweeps can run."""

from __future__ import annotations

import time

from fastapi import APIRouter
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from service.api import schemas
from service.api.deps import Context, Ctx
from service.api.strict_query import Known
from service.store import components, packs, trials

router = APIRouter(tags=["health"])

STALE_SECONDS = 30.0
NEEDED = ("database", "controller", "ray")


@router.get("/health/live")
def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/health/ready", responses={503: {"model": schemas.Readiness}})
def ready(context: Ctx, response: Response) -> schemas.Readiness:
    """Whether sweeps can run: 503 names what is being waited for. MLflow down is only degraded: training goes on."""
    parts = _parts(context)
    waiting = [f"{name}: {parts[name].message}" for name in NEEDED if not parts[name].healthy]
    response.status_code = 503 if waiting else 200
    degraded = not all(part.healthy for part in parts.values())
    return schemas.Readiness(ready=not waiting, degraded=degraded, waiting_for=waiting, parts=parts)


@router.get("/v1/cluster", dependencies=[Known])
def cluster(context: Ctx) -> schemas.ClusterView:
    """Nodes, CPUs and GPUs as the controller last saw them, and what waits for them."""
    with context.database.read() as session:
        counts = trials.counts(session)
        queue = schemas.Queue(
            waiting_trials=counts.get("waiting", 0), running_trials=counts.get("running", 0),
            open_packs=len(packs.open_packs(session)),
        )  # fmt: skip
    return schemas.ClusterView(parts=_parts(context), queue=queue)


def _parts(context: Context) -> dict[str, schemas.ComponentView]:
    """Each part; one never seen, or seen too long ago, is not healthy. Stale news of Ray is the controller's fault."""
    parts = {
        name: schemas.ComponentView(healthy=False, message="not seen yet") for name in ("controller", "ray", "mlflow")
    }
    try:
        with context.database.read() as session:
            rows = components.every(session)
    except SQLAlchemyError as error:
        return {
            "database": schemas.ComponentView(healthy=False, message=f"does not answer ({type(error).__name__})"),
            **parts,
        }
    for row in rows:
        age = time.time() - row.at
        stale = age > STALE_SECONDS
        message = f"last seen {age:.0f} s ago: {row.message}" if stale else row.message
        parts[row.name] = schemas.ComponentView(
            healthy=row.healthy and not stale, message=message, at=row.at, detail=row.detail
        )
    return {"database": schemas.ComponentView(healthy=True, message="answers"), **parts}

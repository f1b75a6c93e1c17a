"""Health probes and the cluster: the condition of the database, controller, Ray and MLflow; whether sweeps can run."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response

from service import schemas
from service.access.principal import principal_of
from service.api.deps import Context, Ctx
from service.api.strict_query import Known
from service.store import components, packs, queue, trials

router = APIRouter(tags=["health"])

STALE_SECONDS = 30.0
NEEDED = ("database", "controller", "ray")


@router.get("/health/live")
async def live() -> schemas.Liveness:
    """Answer that the API's process is alive. Neither the database nor any other part of the system is asked."""
    return schemas.Liveness()


@router.get("/health/ready", responses={503: {"model": schemas.Readiness}})
def ready(context: Ctx, request: Request, response: Response) -> schemas.Readiness:
    """Return whether sweeps can run, which needs the database, the controller and Ray.

    If they cannot, the status is 503 and ``waiting_for`` says why. While only MLflow is down, the service is ready but
    degraded: training goes on without it. It is not degraded by what somebody deleted in MLflow, which the message of
    ``mlflow`` says. To a request without a valid token messages and details are not shown, if tokens are required.
    """
    parts = _parts(context)
    if principal_of(request.scope) is None:
        parts = {name: schemas.ComponentView(healthy=part.healthy, message="") for name, part in parts.items()}
    waiting = [f"{name}: {parts[name].message}".rstrip(": ") for name in NEEDED if not parts[name].healthy]
    response.status_code = 503 if waiting else 200
    degraded = not all(part.healthy for part in parts.values())
    return schemas.Readiness(ready=not waiting, degraded=degraded, waiting_for=waiting, parts=parts)


@router.get("/v1/cluster", dependencies=[Known])
def cluster(context: Ctx) -> schemas.ClusterView:
    """Return the nodes, CPUs and GPUs as the controller last saw them, and how many trials wait and are trained."""
    with context.database.read() as session:
        counts = trials.counts(session)
        shown = schemas.Queue(
            waiting_trials=counts.get("waiting", 0),
            running_trials=counts.get("running", 0),
            open_packs=len(packs.open_packs(session)),
        )
    return schemas.ClusterView(parts=_parts(context), queue=shown)


def _parts(context: Context) -> dict[str, schemas.ComponentView]:
    """Return the condition of the database, controller, Ray and MLflow, by name.

    A part that was never seen, or not for ``STALE_SECONDS``, is not healthy. If the database does not answer, nothing
    is known about the other parts, and they are shown as not healthy. If it takes no writes, it is not healthy either.
    ``checkpoint_writes`` is among the parts while checkpoints cannot be written.
    The controller reports on Ray: if Ray's entry is stale, it is the controller that does not work.
    """
    names = ("controller", "ray", "mlflow")
    parts = {name: schemas.ComponentView(healthy=False, message="not seen yet") for name in names}
    try:
        with context.database.read() as session:
            rows = components.every(session)
    except SQLAlchemyError as error:
        message = f"does not answer ({type(error).__name__})"
        unknown = schemas.ComponentView(healthy=False, message="not known while the database does not answer")
        return {"database": schemas.ComponentView(healthy=False, message=message), **dict.fromkeys(names, unknown)}
    for row in rows:
        if row.name == queue.NAME:  # what sweeps wait for, also those of other owners
            continue
        age = context.sightings.age(row.name, row.at)
        stale = age > STALE_SECONDS
        message = f"last seen {age:.0f} s ago ({row.message})" if stale else row.message
        parts[row.name] = schemas.ComponentView(
            healthy=row.healthy and not stale, message=message, at=row.at, detail=row.detail
        )
    problem = context.write_probe.problem()
    message = f"cannot be written to: {problem}" if problem else "answers"
    return {"database": schemas.ComponentView(healthy=problem is None, message=message), **parts}

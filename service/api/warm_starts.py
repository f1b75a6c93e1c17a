"""The results of earlier sweeps for a new one whose sampler is to begin with them."""

from __future__ import annotations

from pydantic import ValidationError
from sqlalchemy.orm import Session

from service.access.principal import Principal
from service.store import sweeps, trials
from service.store.database import Database
from service.store.errors import NotFound
from workers.errors import FieldError, SpecError
from workers.spec.repeats import observed_points
from workers.spec.sweep import SweepSpec
from workers.spec.warm_start import FIELD, EarlierSweep, with_prior_results


def warm_started(database: Database, spec: SweepSpec, who: Principal) -> SweepSpec:
    """Return a new sweep with the results that its ``search.warm_start`` asks for, as they are now.

    They are stored with the sweep: so its proposals stay the same if a controller asks again, and the earlier sweep may
    be deleted.

    Args:
        database: The service's database.
        spec: The sweep; one without a warm start is returned as it is.
        who: Who submits it, and has to see the earlier sweeps.

    Raises:
        SpecError: An earlier sweep is not there, cannot be compared, or has nothing to learn from.
    """
    warm = spec.search.warm_start
    if warm is None:
        return spec
    if warm.results:
        problem = "are filled in by the service"
        error = FieldError("search.warm_start.results", len(warm.results), problem, "leave them out")
        raise SpecError([error])
    with database.read() as session:
        earlier = [_read(session, sweep_id, who) for sweep_id in dict.fromkeys(warm.sweep)]
    return with_prior_results(spec, earlier)


def _read(session: Session, sweep_id: str, who: Principal) -> EarlierSweep:
    try:
        row = sweeps.get(session, sweep_id)
    except NotFound:
        row = None
    # a sweep of somebody else is as if it were not there
    if row is None or who.sees not in (None, row.owner):
        problem, allowed = "there is no such sweep", "the id of a sweep that you see, as GET /v1/sweeps lists them"
        raise SpecError([FieldError(FIELD, sweep_id, problem, allowed)])
    try:
        spec = SweepSpec.model_validate(row.spec)
    except ValidationError:
        problem = "was stored by an earlier release, whose document this one does not read"
        raise SpecError([FieldError(FIELD, sweep_id, problem, "another sweep")]) from None
    found = trials.observations(session, sweep_id)
    return EarlierSweep(sweep_id, spec, observed_points(found, spec.repeats, spec.objective.statistic))

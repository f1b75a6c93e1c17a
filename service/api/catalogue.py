"""``/v1/tasks`` and ``/v1/samplers``: what a sweep can choose from."""

from __future__ import annotations

from fastapi import APIRouter

from service import schemas
from service.api.strict_query import Known
from workers.spec.samplers import SAMPLERS
from workers.tasks import TASKS

router = APIRouter(prefix="/v1", tags=["catalogue"], dependencies=[Known])


@router.get("/tasks")
def list_tasks() -> list[schemas.TaskView]:
    """Return the tasks with their fields as JSON schemas, and their metrics with the direction of improvement."""
    return [
        schemas.TaskView(name=name, summary=task.summary, metrics=task.metrics, json_schema=task.model_json_schema())
        for name, task in TASKS.items()
    ]


@router.get("/samplers")
def list_samplers() -> list[schemas.SamplerView]:
    """Return the samplers, which choose the trials of a sweep from its search space, with their options."""
    return [
        schemas.SamplerView(
            name=name,
            summary=sampler.summary,
            use_when=sampler.use_when,
            takes_trials=sampler.takes_trials,
            max_trials=sampler.max_trials,
            learns=sampler.learns,
            options=sampler.Options.model_json_schema(),
        )
        for name, sampler in SAMPLERS.items()
    ]

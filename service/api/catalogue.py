"""``/v1/tasks`` and ``/v1/samplers``: what a sweep can choose from."""

from __future__ import annotations

from fastapi import APIRouter

from service.api import schemas
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
    """Return the samplers, which choose the trials of a sweep from its search space, each with a summary."""
    return [schemas.SamplerView(name=name, summary=sampler.summary) for name, sampler in SAMPLERS.items()]

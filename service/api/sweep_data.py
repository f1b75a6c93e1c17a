"""What the trials of a sweep read: summaries of its data sets, made from the files that the server has."""

from __future__ import annotations

import logging
from pathlib import Path

from service import schemas
from service.api.problems import Refused
from workers.errors import DataMissing
from workers.spec.expand import tasks_of
from workers.spec.sweep import SweepSpec
from workers.tasks import Task
from workers.tasks.dataset_info import DatasetTask
from workers.tasks.summarise import summarise

log = logging.getLogger(__name__)

MAX_SETS = 20


def summaries_of(sweep_id: str, spec: SweepSpec, data_dir: Path | None) -> schemas.SweepData:
    """Return summaries of a sweep's data sets.

    Raises:
        Refused: The server can read none of them. The status is 404, and the detail says why.
    """
    sources: dict[str, Task] = {}
    for task in tasks_of(spec):
        sources.setdefault(task.dataset_name if isinstance(task, DatasetTask) else spec.task.name, task)
    found, unreadable = [], []
    for source, task in list(sources.items())[:MAX_SETS]:
        try:
            found.append(summarise(task, data_dir))
        except DataMissing as error:
            unreadable.append(schemas.UnreadableData(source=source, problem=str(error)))
        except Exception:  # a reader may stumble over a file in any way: it is the file that cannot be read
            log.exception("the data of %r could not be read", source)
            unreadable.append(schemas.UnreadableData(source=source, problem="it has another form than its name says"))
    if not found:
        problem = f"the server cannot read the data of sweep {sweep_id}: {unreadable[0].problem}"
        raise Refused(404, "Data not readable", problem)
    return schemas.SweepData(sweep_id=sweep_id, sets=found, unreadable=unreadable, count=len(sources))

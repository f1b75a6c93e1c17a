"""Data sets as MLflow shows them: the inputs of runs, each with a name and a digest."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from workers.tasks import Task
from workers.tasks.dataset_info import DatasetTask

DIGEST_SIZE = 16
"""The number of bytes of a digest. MLflow takes 36 characters."""


def data_input(task: Task) -> DatasetInput:
    """Return the data of a task as an input of a run."""
    name, digest = name_and_digest(task)
    profile: dict[str, Any] = {"steps": task.sequence_length, "features": task.input_size, "outputs": task.output_size}
    if task.tokens is not None:
        profile |= {"features": 1, "tokens": task.tokens}
    dataset = Dataset(name, digest, "spectral", json.dumps(_document(task)), profile=json.dumps(profile))
    return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, "training")])


def name_and_digest(task: Task) -> tuple[str, str]:
    """Return the name of a task's data, and a digest of 32 hexadecimal digits.

    The digest of files is that of their series or images and their targets, as it was measured when the sweep was
    accepted. Of data that are computed, fetched or were not measured it is the digest of the task's fields.
    """
    if isinstance(task, DatasetTask):
        name, info = f"{task.name}/{task.dataset_name}", task.facts.get(task.dataset_name)  # type: ignore[attr-defined]
        if info is not None and info.digest is not None:
            return name, info.digest
    else:
        name = task.name  # type: ignore[attr-defined]  # every task has it, each with a type of its own
    content = json.dumps(_document(task), sort_keys=True).encode()
    return name, hashlib.blake2b(content, digest_size=DIGEST_SIZE).hexdigest()


def _document(task: Task) -> dict[str, Any]:
    """Return the fields of a task that say which data it has, without what was measured of files."""
    return task.model_dump(mode="json", exclude={"facts"}, exclude_none=True)

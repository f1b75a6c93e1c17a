"""A sweep that goes on after its end, and is deleted, on the whole service."""

from __future__ import annotations

import pytest

from service.client import ApiError, Client
from service.stack import Stack
from tests.end_to_end.mlflow_side import MlflowSide
from tests.end_to_end.small_sweep import SWEEP, Json, told, until


def test_an_extended_grid_has_the_values_of_the_larger_grid_and_can_be_deleted(
    client: Client, stack: Stack, undisturbed: Json
) -> None:
    """The grid begins with one margin and gets the other one later: each trial has the values that it has anyhow."""
    small = SWEEP | {"space": SWEEP["space"] | {"model.margin": {"values": [0.01]}}}
    id = client.wait(client.submit(small)["id"])["id"]
    before = told(client, id)
    assert sorted(before) == [0, 1]
    client.extend(id, space={"model.margin": [0.1]})
    assert client.wait(id)["state"] == "succeeded"
    after = told(client, id)
    assert {number: after[number] for number in before} == before
    whole = {
        str(trial["params"]): told(client, undisturbed["id"])[trial["number"]]
        for trial in client.trials(undisturbed["id"])
    }
    assert {str(trial["params"]): after[trial["number"]] for trial in client.trials(id)} == whole
    side = MlflowSide(stack, client, id)
    side.assert_tells_what_the_api_tells()
    assert {run.info.status for run in (side.parent, *side.children.values())} == {"FINISHED"}
    best = client.sweep(id)["best"]["number"]
    folder = stack.home.checkpoints / id
    assert folder.is_dir()
    client.delete(id)
    with pytest.raises(ApiError) as gone:
        client.sweep(id)
    assert gone.value.status == 404
    until(lambda: not folder.exists())

    def kept() -> list[str]:
        query = f"tags.`spectral.sweep_id` = '{id}'"
        found = side.api.search_runs([side.parent.info.experiment_id], query)
        return [run.info.run_id for run in found]

    until(lambda: kept() == [side.children[best].info.run_id])
    assert client.sweep(undisturbed["id"])["state"] == "succeeded"

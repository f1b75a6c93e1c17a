"""A sweep that goes on after its end, and is deleted, on the whole service."""

from __future__ import annotations

import pytest

from service.client import ApiError, RestClient
from service.stack import Stack
from tests.end_to_end.mlflow_side import MlflowSide
from tests.end_to_end.small_sweep import STEPS, SWEEP, Json, told
from tests.waiting import until


def test_an_extended_grid_has_the_values_of_the_larger_grid_and_can_be_deleted(
    client: RestClient, stack: Stack, undisturbed: Json
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


def test_more_steps_and_a_replay_have_the_bits_of_one_long_training(client: RestClient, stack: Stack) -> None:
    """Two of four trials are trained in two parts; one whole training of as many steps, and a replay, equal them."""
    training = SWEEP["training"] | {"steps": 200}
    short = SWEEP | {"training": training}
    id = client.wait(client.submit(short)["id"])["id"]
    before = told(client, id)
    for number in (1, 2):
        client.extend(f"{id}-{number:04d}", steps=400)
    assert client.wait(id)["state"] == "succeeded"
    whole = client.wait(client.submit(SWEEP)["id"])["id"]
    parts, wanted = told(client, id), told(client, whole)
    assert {number: parts[number] for number in (0, 3)} == {number: before[number] for number in (0, 3)}
    for number in (1, 2):
        assert sorted(parts[number]) == STEPS
        assert {step: parts[number][step] for step in before[number]} == before[number]
        for step in STEPS:
            ended = {name for name in parts[number][step] if name.startswith("test/")}
            assert bool(ended) == (step in (200, 400))
            # the report at which the first training ended has what is measured at an end
            same = parts[number][step].keys() & wanted[number][step].keys()
            assert {"train/loss", "val/loss"} <= same
            assert {name: parts[number][step][name] for name in same} == {n: wanted[number][step][n] for n in same}
        assert client.trial(f"{id}-{number:04d}")["objective"] == client.trial(f"{whole}-{number:04d}")["objective"]
    replay = client.wait(client.replay(f"{id}-0001")["id"])
    found = client.compare_trials(f"{replay['id']}-0000")
    assert (found["first"], found["likeness"], found["settings"]) == (f"{id}-0001", "equal", [])
    assert (found["steps"], found["only_first"], found["only_second"]) == (20, 0, 0)
    other = client.compare_trials(f"{id}-0000", f"{id}-0001")
    assert other["likeness"] == "different"
    side = MlflowSide(stack, client, id)
    side.assert_tells_what_the_api_tells()
    assert {run.info.status for run in (side.parent, *side.children.values())} == {"FINISHED"}

"""Sweeps whose sizes depend on data files: the server reads the files, or asks for the sizes if it cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.settings import ApiSettings
from service.store import sweeps, trials
from service.store.database import Database
from workers.spec.expand import points_of
from workers.spec.sweep import SweepSpec

SWEEP = {
    "task": {"name": "ucr"},
    "model": {"hidden_size": 4},
    "training": {"steps": 2},
    "space": {"task.dataset": ["Short", "Long"], "model.margin": [0.5]},
}
FACTS = {
    "Short": {"length": 4, "features": 1, "classes": ["a", "b"]},
    "Long": {"length": 64, "features": 2, "classes": ["a", "b", "c"]},
}


@pytest.fixture
def settings(url: str, tmp_path: Path) -> ApiSettings:
    return ApiSettings(database_url=url, data_dir=tmp_path)


def put_series(folder: Path, name: str, length: int) -> None:
    (folder / "ucr").mkdir(exist_ok=True)
    lines = [f"{label}\t" + "\t".join(["0.5"] * length) for label in "ababab"]
    for part in ("TRAIN", "TEST"):
        (folder / "ucr" / f"{name}_{part}.tsv").write_text("\n".join(lines))


def test_data_sets_are_read_where_a_sweep_is_posted(api: httpx.Client, tmp_path: Path) -> None:
    put_series(tmp_path, "Short", 4)
    put_series(tmp_path, "Long", 64)
    answer = api.post("/v1/sweeps", json=SWEEP)
    assert answer.status_code == 202, answer.text
    facts = answer.json()["spec"]["task"]["facts"]
    assert {name: found["length"] for name, found in facts.items()} == {"Short": 4, "Long": 64}
    plan = api.post("/v1/sweeps/validate", json=SWEEP).json()
    assert (plan["trials"], plan["packs"]) == (2, [1, 1])


def test_a_data_set_that_is_not_there_is_named(api: httpx.Client, tmp_path: Path) -> None:
    put_series(tmp_path, "Short", 4)
    answer = api.post("/v1/sweeps", json=SWEEP)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["field"], error["given"]) == ("space.task.dataset", "Long")
    assert "Long_TRAIN.ts" in error["problem"]
    assert error["allowed"] == "fix the file, or choose another with task.dataset"


def test_facts_in_the_document_need_no_file_and_advice_is_for_the_longest_sequence(api: httpx.Client) -> None:
    document = SWEEP | {"task": {"name": "ucr", "facts": FACTS}}
    plan = api.post("/v1/sweeps/validate", json=document).json()
    assert [warning["field"] for warning in plan["warnings"]] == []
    longer = {"Short": FACTS["Short"], "Long": FACTS["Long"] | {"length": 6400}}
    plan = api.post("/v1/sweeps/validate", json=SWEEP | {"task": {"name": "ucr", "facts": longer}}).json()
    assert [warning["field"] for warning in plan["warnings"]] == ["space.model.margin"]
    assert "T = 80" in plan["warnings"][0]["problem"]


def test_the_snippet_of_a_trial_has_the_shape_of_its_own_data_set(
    api: httpx.Client, database: Database, with_model: Callable[[str], None]
) -> None:
    posted: dict[str, Any] = api.post("/v1/sweeps", json=SWEEP | {"task": {"name": "ucr", "facts": FACTS}}).json()
    with database.write() as session:
        sweep = sweeps.get(session, posted["id"])
        rows = trials.create(session, sweep, 0, list(points_of(SweepSpec.model_validate(sweep.spec))))
        names = [row.id for row in rows]
    for name in names:
        with_model(name)
    snippets = [api.get(f"/v1/trials/{name}/model").json()["snippet"] for name in names]
    assert "(1, 2, 2)" in snippets[0]
    assert "(1, 8, 16)" in snippets[1]

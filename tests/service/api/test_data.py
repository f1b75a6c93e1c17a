"""Sweeps whose sizes depend on data files: the server reads the files, or asks for the sizes if it cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
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


def put_walks(folder: Path, count: int = 200, leaks: bool = True) -> None:
    rng = np.random.default_rng(0)
    rows = [
        f"s{n},{t},{rng.normal():.3f},{n % 2 if leaks else rng.normal():.3f},{'ab'[n % 2]}"
        for n in rng.permutation(count)
        for t in range(3)
    ]
    (folder / "walks.csv").write_text("\n".join(["series,step,x,code,target", *rows]))


WALKS = {"name": "walks", "task": {"name": "own_data", "file": "walks.csv"}, "space": {"training.seed": [0, 1]}}


def test_what_makes_scores_doubtful_is_said_before_and_after_a_submit(api: httpx.Client, tmp_path: Path) -> None:
    put_walks(tmp_path)
    posted = api.post("/v1/sweeps", json=WALKS).json()
    (warning,) = posted["warnings"]
    assert (warning["field"], warning["given"]) == ("task.file", "walks.csv")
    assert "the last value of 'code' alone tells the class" in warning["problem"]
    assert api.post("/v1/sweeps/validate", json=WALKS).json()["warnings"] == [warning]
    assert api.get(posted["links"]["self"]).json()["warnings"] == [warning]
    assert api.get(posted["links"]["report"]).json()["warnings"] == [warning]
    (tmp_path / "walks.csv").unlink()
    assert api.get(posted["links"]["report"]).json()["warnings"] == [warning]


@pytest.mark.parametrize(
    ("best", "problem"), [(0.5, "is not better than always"), (0.97, "is reached by the last value")]
)
def test_the_report_of_an_ended_sweep_compares_its_best_with_no_network(
    api: httpx.Client, database: Database, tmp_path: Path, best: float, problem: str
) -> None:
    put_walks(tmp_path)
    posted = api.post("/v1/sweeps", json=WALKS).json()
    with database.write() as session:
        sweep = sweeps.move(session, posted["id"], "running")
        rows = trials.create(session, sweep, 0, list(points_of(SweepSpec.model_validate(sweep.spec))))
        for row in rows:
            trials.move(session, row, "running")
            row.objective, row.best_step = best, 1
    assert len(api.get(posted["links"]["report"]).json()["warnings"]) == 1
    with database.write() as session:
        for row in rows:
            trials.move(session, trials.get(session, row.id), "succeeded")
        sweeps.move(session, posted["id"], "succeeded")
    data, result = api.get(posted["links"]["report"]).json()["warnings"]
    assert (data["field"], result["field"], result["given"]) == ("task.file", "val/accuracy", best)
    assert result["problem"].startswith(problem)


def test_the_data_of_a_sweep_is_shown_as_it_is_read(api: httpx.Client, tmp_path: Path) -> None:
    put_walks(tmp_path)
    posted = api.post("/v1/sweeps", json=WALKS).json()
    found = api.get(posted["links"]["data"]).json()
    assert (found["sweep_id"], found["count"], found["unreadable"]) == (posted["id"], 1, [])
    (walks,) = found["sets"]
    assert (walks["source"], walks["format"], walks["series"]) == ("walks.csv", "csv", 200)
    assert walks["steps"] == {"min": 3, "median": 3, "max": 3}
    assert [feature["name"] for feature in walks["features"]] == ["x", "code"]
    assert [one["label"] for one in walks["classes"]] == ["a", "b"]
    assert walks["sets"] == {"train": 140, "validation": 30, "test": 30}
    assert {**walks["warnings"][0]} == {
        "problem": posted["warnings"][0]["problem"],
        "advice": posted["warnings"][0]["allowed"],
    }


def test_several_data_sets_are_shown_one_by_one(api: httpx.Client, tmp_path: Path) -> None:
    put_series(tmp_path, "Short", 4)
    put_series(tmp_path, "Long", 64)
    posted = api.post("/v1/sweeps", json=SWEEP).json()
    (tmp_path / "ucr" / "Long_TEST.tsv").unlink()
    found = api.get(posted["links"]["data"]).json()
    assert ([one["source"] for one in found["sets"]], found["count"]) == (["Short"], 2)
    assert [one["source"] for one in found["unreadable"]] == ["Long"]
    assert "Long_TEST.ts" in found["unreadable"][0]["problem"]


def test_data_that_the_server_cannot_read_is_a_problem_with_the_reason(api: httpx.Client, tmp_path: Path) -> None:
    posted = api.post("/v1/sweeps", json=SWEEP | {"task": {"name": "ucr", "facts": FACTS}}).json()
    answer = api.get(posted["links"]["data"])
    assert (answer.status_code, answer.json()["title"]) == (404, "Data not readable")
    assert "Short_TRAIN.ts" in answer.json()["detail"]
    put_series(tmp_path, "Short", 5)  # it is another file than the one that the facts describe
    detail = api.get(posted["links"]["data"]).json()["detail"]
    assert "Short has 5 steps of 1 features and 2 classes here, which is not what task.facts says" in detail
    assert api.get("/v1/sweeps/sw000000000000/data").json()["title"] == "Not found"


@pytest.mark.parametrize("task", [{"name": "digits"}, {"name": "adding", "length": 8}, {"name": "copy", "length": 4}])
def test_tasks_with_data_of_their_own_show_it_too(api: httpx.Client, task: dict[str, Any]) -> None:
    posted = api.post("/v1/sweeps", json={"task": task, "space": {"training.seed": [0]}}).json()
    (own,) = api.get(posted["links"]["data"]).json()["sets"]
    assert (own["source"], own["files"], own["warnings"]) == (task["name"], [], [])
    assert (own["sets"]["train"] is None) == (task["name"] != "digits")


def test_images_that_no_worker_has_fetched_yet_are_not_fetched_to_be_shown(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.tasks.mnist.MIRROR", "http://127.0.0.1:9/")
    posted = api.post("/v1/sweeps", json={"task": {"name": "mnist"}, "space": {"training.seed": [0]}}).json()
    answer = api.get(posted["links"]["data"])
    assert answer.status_code == 404
    assert "it is fetched by the first worker that trains on it" in answer.json()["detail"]


def test_a_sweep_stored_by_an_earlier_release_is_shown(api: httpx.Client, database: Database, tmp_path: Path) -> None:
    put_series(tmp_path, "Short", 4)
    posted = api.post("/v1/sweeps", json=SWEEP | {"space": {"task.dataset": ["Short"]}}).json()
    with database.write() as session:
        row = sweeps.get(session, posted["id"])
        spec = json.loads(json.dumps(row.spec))
        for facts in spec["task"]["facts"].values():
            facts.pop("statistics", None)
        row.spec, row.advice = spec, None
    assert api.get(posted["links"]["self"]).json()["warnings"] == []
    assert api.get(posted["links"]["report"]).json()["warnings"] == []
    assert len(api.get(posted["links"]["data"]).json()["sets"]) == 1

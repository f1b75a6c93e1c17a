"""Tags and the archive: given in a document, changed later, filtered by, and kept when a sweep goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import event, func, select

from service.client import RestClient
from service.store import events, outbox, removals, sweeps, tags
from service.store.database import Database
from service.store.tables import Sweep, SweepTag
from tests.service.api.test_after_end import end, expand
from tests.service.api.test_errors import problem

BACKENDS = ["sqlite", "postgresql"]


def listed(api: httpx.Client, **query: str | list[str]) -> list[str]:
    return [row["name"] for row in api.get("/v1/sweeps", params=query).json()["sweeps"]]


@pytest.fixture
def three(database: Database, new_sweep: Callable[..., Sweep]) -> dict[str, str]:
    """The ids by name of a sweep that runs, one that has ended, and one that has ended with a failed trial."""
    ids = {
        name: new_sweep(name=name, tags=given).id for name, given in (("a", ["red", "big"]), ("b", ["red"]), ("c", []))
    }
    for id in ids.values():
        expand(database, id)
    end(database, ids["b"])
    end(database, ids["c"], "failed")
    return ids


@pytest.mark.parametrize("backend", BACKENDS)
def test_sweeps_are_found_by_their_tags_and_not_while_they_are_archived(
    backend: str, api: httpx.Client, database: Database, three: dict[str, str]
) -> None:
    assert listed(api, tag="red") == ["b", "a"]
    assert (listed(api, tag="big"), listed(api, tag="re")) == (["a"], [])
    assert (listed(api, tag=["red", "big"]), listed(api, tag=["red", "none"])) == (["a"], [])
    assert listed(api, tag=["red", "red"]) == ["b", "a"]
    answer = api.patch(f"/v1/sweeps/{three['b']}", json={"archived": True, "tags": ["old", "blue"]})
    assert (answer.status_code, answer.json()["archived"], answer.json()["tags"]) == (202, True, ["blue", "old"])
    assert answer.json()["spec"]["tags"] == ["old", "blue"], "a copy begins with the tags that it has now"
    assert listed(api) == ["c", "a"]
    assert (listed(api, archived="true"), listed(api, archived="any")) == (["b"], ["c", "b", "a"])
    assert (listed(api, tag="old"), listed(api, tag="old", archived="true"), listed(api, tag="red")) == (
        [],
        ["b"],
        ["a"],
    )
    assert listed(api, archived="true", state="succeeded") == ["b"]
    api.patch(f"/v1/sweeps/{three['b']}", json={"archived": True})
    with database.read() as session:
        told = [one.data for one in events.after(session, three["b"], 0) if one.kind == "sweep.changed"]
        sent = [entry.payload for entry in outbox.oldest(session, 1000) if entry.kind == "tags"]
    assert [(one["before"]["tags"], one["after"]["tags"]) for one in told] == [(["red"], ["old", "blue"])]
    assert sent == [{"tags": ["old", "blue"]}], "MLflow is told"


def test_only_a_sweep_that_has_ended_is_archived_and_one_that_goes_on_is_not(
    api: httpx.Client, three: dict[str, str]
) -> None:
    refused = problem(api.patch(f"/v1/sweeps/{three['a']}", json={"archived": True, "tags": ["x"]}), 409)
    assert "cannot archive a sweep that is running" in refused["detail"]
    assert "wait until it has ended, or cancel it" in refused["detail"]
    assert api.get(f"/v1/sweeps/{three['a']}").json()["tags"] == ["big", "red"], "nothing of the change is done"
    assert api.patch(f"/v1/sweeps/{three['a']}", json={"archived": False, "tags": []}).json()["tags"] == []
    refused = problem(api.patch(f"/v1/sweeps/{three['c']}", json={"priority": 3, "tags": ["x"]}), 409)
    assert "cannot change a sweep that has ended" in refused["detail"]
    assert api.patch(f"/v1/sweeps/{three['c']}", json={"archived": True, "tags": ["x"]}).json()["archived"]
    again = api.post(f"/v1/sweeps/{three['c']}/rerun").json()
    assert (again["state"], again["archived"], again["tags"]) == ("running", False, ["x"])
    assert listed(api) == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("change", "field", "words", "allowed"),
    [
        ({"tags": "red"}, "tags", "is not a list", "a list"),
        ({"tags": ["two words"]}, "tags.0", "is not one word", "printable text without spaces and commas"),
        ({"tags": ["a,b"]}, "tags.0", "is not one word", "printable text without spaces and commas"),
        ({"tags": ["a", ""]}, "tags.1", "is empty", ""),
        ({"tags": ["x" * 41]}, "tags.0", "is longer than 40 characters", "at most 40"),
        ({"tags": ["a", "b", "a"]}, "tags", "has a twice", "each tag once"),
        ({"tags": [str(n) for n in range(11)]}, "tags", "has more than 10 items", "at most 10"),
        ({"add_tags": ["two words"]}, "add_tags.0", "is not one word", "printable text"),
        (
            {"add_tags": list("abcdefghij")},
            "add_tags",
            "would make 11 tags, with the 1 that the sweep keeps",
            "at most",
        ),
        (
            {"tags": ["a"], "remove_tags": ["b"]},
            "tags",
            "replaces all tags, so that nothing can be added to them or removed",
            "tags alone",
        ),
        ({"archived": 1}, "archived", "is not true or false", "true or false"),
    ],
)
def test_wrong_tags_are_refused_in_a_change_and_in_a_document(
    api: httpx.Client,
    three: dict[str, str],
    document: dict[str, Any],
    change: Any,
    field: str,
    words: str,
    allowed: str,
) -> None:
    answers = [api.patch(f"/v1/sweeps/{three['b']}", json=change)]
    if change.keys() == {"tags"}:
        answers.append(api.post("/v1/sweeps", json=document | change))
    for answer in answers:
        (error,) = problem(answer, 422)["errors"]
        assert (error["field"], error["problem"]) == (field, words)
        assert error["allowed"].startswith(allowed)


def test_tags_are_added_and_removed_whatever_others_did_meanwhile(api: httpx.Client, three: dict[str, str]) -> None:
    def change(**tags: list[str]) -> list[str]:
        answer = api.patch(f"/v1/sweeps/{three['a']}", json=tags)
        assert answer.status_code == 202
        return list(answer.json()["tags"])

    assert change(add_tags=["mine"]) == ["big", "mine", "red"]
    assert change(add_tags=["theirs", "red"], remove_tags=["big"]) == ["mine", "red", "theirs"]
    assert change(remove_tags=["red", "nothing"]) == ["mine", "theirs"]


def test_the_same_document_with_its_key_finds_its_sweep_whatever_its_tags_are_now(
    base_url: str, document: dict[str, Any]
) -> None:
    tagged = document | {"tags": ["first"]}
    with RestClient(base_url, patience=0) as client:
        id = client.submit(tagged, "once")["id"]
        assert client.change(id, tags=["second"])["tags"] == ["second"]
        assert (again := client.submit(tagged, "once"))["id"] == id
        assert again["tags"] == ["second"]
        assert [row["id"] for row in client.sweeps(tag="second")] == [id]
        assert [row["id"] for row in client.sweeps(tag=["second"])] == [id]
        assert list(client.sweeps(tag=("second", "first"))) == []
        assert list(client.sweeps(archived=True)) == []
        assert [row["id"] for row in client.sweeps(archived=None)] == [id]


def test_a_deleted_sweep_leaves_no_tag(database: Database, three: dict[str, str]) -> None:
    with database.write() as session:
        removals.begin(session, three["b"])
    with database.write() as session:
        while removals.delete_rows(session, three["b"]):
            pass
        assert session.scalar(select(func.count()).select_from(SweepTag)) == 2
        assert tags.of_sweeps(session, [three["b"]]) == {three["b"]: []}


@pytest.mark.parametrize("query", [{"archived": False}, {"archived": True}, {"having": ["red", "big"]}])
def test_a_page_of_the_list_is_found_by_an_index(database: Database, three: dict[str, str], query: Any) -> None:
    asked: list[tuple[str, Any]] = []
    with database.read() as session:
        event.listen(session.get_bind(), "before_cursor_execute", lambda _c, _k, s, p, *_: asked.append((s, p)))
        sweeps.page(session, **query)
        statement, parameters = asked[-1]
        plan = " ".join(
            row[-1] for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        )
    assert "USING INDEX ix_sweeps_archived" in plan or "ix_sweep_tags_tag" in plan, plan
    assert "SCAN sweeps" not in plan.replace("SCAN sweeps USING INDEX", ""), plan

"""Sweeps are submitted once, found again after a kill, and become records when they end."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from service.client import RestClient
from service.schemas.times import rfc3339
from study import running
from study.documents import SweepDocument
from study.errors import SweepEnded
from study.records import Record, Records
from tests.study.examples import documents, record

DOCUMENTS = documents("gradients")
Json = dict[str, Any]


class Service:
    """Sweeps in memory, as the API shows them: each ends when all have been listed ``polls`` times."""

    def __init__(self, polls: int = 2) -> None:
        self.polls, self.seen = polls, 0
        self.keys: dict[str, str] = {}
        self.states: dict[str, str] = {}
        self.made: dict[str, Record] = {}
        self.killed_at: int | None = None

    def submit(self, document: Json, key: str) -> Json:
        if key not in self.keys:
            self.keys[key] = f"s{len(self.keys)}"
            self.states[self.keys[key]] = "running"
            self.made[self.keys[key]] = record(SweepDocument(document["name"], document))
        return self._shown(self.keys[key])

    def sweep(self, sweep_id: str) -> Json:
        return self._shown(sweep_id)

    def sweeps(self, state: Sequence[str] = (), *, archived: bool | None = False) -> Iterator[Json]:
        if not state:
            self._list()
        return (self._shown(name) for name, own in list(self.states.items()) if not state or own in state)

    def _list(self) -> None:
        self.seen += 1
        if self.seen == self.killed_at:
            raise KeyboardInterrupt
        for name, state in self.states.items():
            if state == "running" and self.seen >= self.polls:
                self.states[name] = "succeeded"

    def pause(self, sweep_id: str) -> Json:
        self.states[sweep_id] = "paused"
        return self._shown(sweep_id)

    def resume(self, sweep_id: str) -> Json:
        self.states[sweep_id] = "running"
        return self._shown(sweep_id)

    def trials(self, sweep_id: str) -> Iterator[Json]:
        for trial in self.made[sweep_id].trials:
            times = {"started_at": rfc3339(trial.started_at), "ended_at": rfc3339(trial.ended_at)}
            yield trial.model_dump() | times | {"id": f"{sweep_id}-{trial.number}"}

    def metrics(self, trial_id: str) -> list[Json]:
        return [point.model_dump() | {"at": rfc3339(0.0)} for point in self._trial(trial_id).points]

    def logs(self, trial_id: str) -> Json:
        trial = self._trial(trial_id)
        return {"attempts": [{"pack_id": trial.pack, "cause": trial.cause}] * trial.attempts}

    def _trial(self, trial_id: str) -> Any:
        sweep_id, _, number = trial_id.partition("-")
        return self.made[sweep_id].trials[int(number)]

    def _shown(self, sweep_id: str) -> Json:
        made = self.made[sweep_id]
        total = len(made.trials)
        counts = {"total": total, "waiting": 0, "running": 0 if self.states[sweep_id] == "succeeded" else total}
        return {
            "id": sweep_id,
            "state": self.states[sweep_id],
            "reason": None,
            "spec": made.spec,
            "trials": counts,
            "progress": {"done": 0, "total": 100},
        }


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "POLL_SECONDS", 0.0)


def run(service: Service, records: Records, *, chosen: list[SweepDocument] = DOCUMENTS) -> None:
    running.run(cast(RestClient, service), chosen, records, Console(file=io.StringIO()))


def test_every_sweep_becomes_the_record_of_all_its_trials(records: Records) -> None:
    service = Service()
    run(service, records)
    for document in DOCUMENTS:
        kept = records.load(document.stem)
        assert kept is not None
        assert kept.trials == record(document).trials
        assert kept.document == document.content
        assert kept.machine["torch"]
        assert records.has(document)


def test_a_killed_run_goes_on_with_the_same_sweeps(records: Records) -> None:
    service = Service(polls=20)
    service.killed_at = 5
    with pytest.raises(KeyboardInterrupt):
        run(service, records)
    assert not records.all()
    run(service, Records(records.folder))
    assert len(service.keys) == len(DOCUMENTS)
    assert set(records.all()) == {document.stem for document in DOCUMENTS}


def test_sweeps_that_were_not_asked_for_wait_and_go_on_when_they_are(records: Records) -> None:
    service = Service(polls=20)
    service.killed_at = 1
    with pytest.raises(KeyboardInterrupt):
        run(service, records)
    run(service, records, chosen=DOCUMENTS[:1])
    assert service.states == {"s0": "succeeded", "s1": "paused"}
    run(service, records, chosen=DOCUMENTS[1:])
    assert service.states == {"s0": "succeeded", "s1": "succeeded"}


def test_a_sweep_ended_by_hand_is_no_record_and_starts_anew(records: Records) -> None:
    service = Service()
    service.submit(DOCUMENTS[0].content, records.key(DOCUMENTS[0]))
    service.states["s0"] = "cancelled"
    run(service, records)
    assert service.states["s1"] == "succeeded"
    assert records.has(DOCUMENTS[0])


def test_a_sweep_ended_by_hand_while_it_is_followed_is_said(records: Records) -> None:
    service = Service(polls=100)
    service.submit(DOCUMENTS[0].content, records.key(DOCUMENTS[0]))

    def cancelled() -> None:
        service.states["s0"] = "cancelled"

    service._list = cancelled  # type: ignore[method-assign]
    with pytest.raises(SweepEnded, match="cancelled before its end"):
        run(service, records)
    assert not records.all()


def test_a_sweep_with_lost_trials_runs_again(records: Records) -> None:
    service = Service()
    run(service, records)
    kept = records.load(DOCUMENTS[0].stem)
    assert kept is not None
    lost = kept.trials[0].model_copy(update={"state": "failed", "cause": "infrastructure"})
    records.save(kept.model_copy(update={"trials": [lost, *kept.trials[1:]]}))
    run(service, records, chosen=DOCUMENTS[:1])
    assert len(service.keys) == len(DOCUMENTS) + 1
    assert records.has(DOCUMENTS[0])

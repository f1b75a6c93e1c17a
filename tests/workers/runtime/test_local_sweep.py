"""A whole sweep on this machine: every trial ends, results are on disk, and it resumes after an interruption."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.workers.examples import sweep_document
from tests.workers.halving import Halving
from workers.checkpoints import read
from workers.errors import OtherSweep, SamplerError
from workers.models import load
from workers.protocol import Ended, Measured, Report
from workers.runtime.local_sweep import RESULTS, LocalSweep
from workers.spec.parse import parse_sweep
from workers.spec.samplers import SAMPLERS, Observation

SPACE = {"model.reflectors": {"values": [1, 2]}, "training.seed": {"values": [0, 1]}}


def sweep(**training: Any) -> Any:
    document = sweep_document(space=SPACE)
    return parse_sweep(document | {"training": document["training"] | training})


def measured(reports: list[Report]) -> dict[tuple[str, int], dict[str, float]]:
    return {
        (r.trial_id, r.step): {k: v for k, v in r.values.items() if not k.startswith(("time/", "throughput/"))}
        for r in reports
        if isinstance(r, Measured)
    }


def test_every_trial_ends_and_its_results_are_on_disk(tmp_path: Path) -> None:
    local = LocalSweep(sweep(), tmp_path, workers=2)
    reports = list(local.run())
    assert sorted(measured(reports)) == [(str(n), step) for n in range(4) for step in (4, 8, 12)]
    assert [r.outcome for r in reports if isinstance(r, Ended)] == ["succeeded"] * 4
    results = json.loads((tmp_path / RESULTS).read_text())
    assert results["objective"] == {"metric": "val/loss", "direction": "minimize"}
    objectives = [trial["objective"] for trial in results["trials"]]
    assert results["best"] == objectives.index(min(objectives))
    for trial in results["trials"]:
        assert (trial["state"], trial["step"]) == ("succeeded", 12)
        assert "test/loss" in trial["metrics"]
        manifest = read(tmp_path / trial["checkpoint"]).manifest
        assert manifest.spec.params == trial["params"]
        assert manifest.history[-1].values["val/loss"] == trial["objective"]
        load(tmp_path / trial["checkpoint"])


def test_the_best_trial_is_the_first_of_the_ranking_that_has_a_result(tmp_path: Path) -> None:
    local = LocalSweep(sweep(), tmp_path, workers=1)
    assert local.best is None
    states = ("failed", "succeeded", "pruned", "succeeded")
    for result, state, loss in zip(local.results, states, (0.1, 0.3, 0.2, 0.2), strict=True):
        result.state, result.objective = state, loss
    assert local.best is not None
    assert local.best.number == 2
    assert [result.number for result in local.ranked] == [2, 3, 1, 0]


def test_a_finished_sweep_is_reported_again_from_its_checkpoints(tmp_path: Path) -> None:
    first = list(LocalSweep(sweep(), tmp_path, workers=1).run())
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    second = list(LocalSweep(sweep(), tmp_path, workers=1).run())
    assert measured(first) == measured(second)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == stamps


def test_a_sweep_cut_short_goes_on(tmp_path: Path) -> None:
    undisturbed = measured(list(LocalSweep(sweep(steps=40), tmp_path / "a", workers=1).run()))
    iterator = LocalSweep(sweep(steps=40), tmp_path / "b", workers=1).run()
    for report in iterator:
        if isinstance(report, Measured) and report.step == 12:
            break
    iterator.close()
    results = json.loads((tmp_path / "b" / RESULTS).read_text())
    assert any(trial["state"] == "running" for trial in results["trials"])
    assert measured(list(LocalSweep(sweep(steps=40), tmp_path / "b", workers=1).run())) == undisturbed


def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    undisturbed = measured(list(LocalSweep(sweep(steps=40), tmp_path / "a", workers=1).run()))
    reports, killed = [], 0
    for report in LocalSweep(sweep(steps=40), tmp_path / "b", workers=1).run():
        reports.append(report)
        if not killed and isinstance(report, Measured) and report.step == 8:
            killed = _kill_trainers()
    assert killed == 1
    assert measured(reports) == undisturbed
    assert len([r for r in reports if isinstance(r, Measured)]) == len(undisturbed)
    assert [r.outcome for r in reports if isinstance(r, Ended)] == ["succeeded"] * 4


def test_a_process_that_dies_every_time_fails_its_trials(tmp_path: Path) -> None:
    document = sweep_document(space=SPACE, retries={"infrastructure": 0})
    document["training"] = document["training"] | {"steps": 100_000}
    ends = []
    for report in LocalSweep(parse_sweep(document), tmp_path, workers=1).run():
        if isinstance(report, Measured) and report.step == 4:
            _kill_trainers()
        if isinstance(report, Ended):
            ends.append(report)
    assert [(end.outcome, end.cause) for end in ends] == [("failed", "infrastructure")] * 4
    assert "attempts (1); the last exit code was -9" in str(ends[0].reason)
    states = [trial["state"] for trial in json.loads((tmp_path / RESULTS).read_text())["trials"]]
    assert states == ["failed"] * 4


def _kill_trainers() -> int:
    """Send SIGKILL to the training processes that this test started, and return how many were alive."""
    killed = 0
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it died since it was listed, or is not collected yet
            if "spawn_main" in " ".join(process.cmdline()):
                process.kill()
                killed += 1
    return killed


def test_a_directory_of_another_sweep_is_refused(tmp_path: Path) -> None:
    LocalSweep(sweep(), tmp_path)
    LocalSweep(sweep(), tmp_path)
    with pytest.raises(OtherSweep, match="another sweep"):
        LocalSweep(sweep(lr=0.5), tmp_path)


def test_a_sampler_that_learns_proposes_trials_while_the_sweep_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SAMPLERS, "halving", Halving)
    search = {"sampler": "halving", "trials": 3}
    asked = parse_sweep(sweep_document(space={"training.lr": {"low": 0.001, "high": 0.1}}, search=search))
    local = LocalSweep(asked, tmp_path, workers=1)
    assert [result.params for result in local.results] == [{"training.lr": 0.1}]
    for report in local.run():
        if isinstance(report, Ended) and report.trial_id == "1":
            break  # interrupted before the third trial is proposed
    first = [result.params["training.lr"] for result in local.results]
    resumed = LocalSweep(asked, tmp_path, workers=1)
    list(resumed.run())
    assert [result.params["training.lr"] for result in resumed.results][:2] == first == [0.1, 0.05]
    objectives = [result.objective for result in resumed.results[:2]]
    assert None not in objectives
    best = first[objectives.index(min(o for o in objectives if o is not None))]
    assert resumed.results[2].params == {"training.lr": best / 2}
    assert [result.state for result in resumed.results] == ["succeeded"] * 3


def test_a_sampler_that_will_never_propose_its_next_trial_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stuck(Halving):
        def is_ready(self, number: int, earlier: Sequence[Observation]) -> bool:
            return number < 1

    monkeypatch.setitem(SAMPLERS, "stuck", Stuck)
    search = {"sampler": "stuck", "trials": 2}
    asked = parse_sweep(sweep_document(space={"training.lr": {"low": 0.001, "high": 0.1}}, search=search))
    with pytest.raises(SamplerError, match="sampler stuck waits for more results before it proposes trial 1"):
        list(LocalSweep(asked, tmp_path, workers=1).run())


def spawned() -> list[psutil.Process]:
    """Return the processes of packs that this process has started and that live."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it has ended, as one of an earlier test
            found += [child] if "spawn_main" in " ".join(child.cmdline()) else []
    return found


def processes(local: LocalSweep) -> tuple[list[Report], set[int]]:
    """Run a sweep, and return its reports and the ids of the processes that trained it."""
    reports, found = [], set()
    for report in local.run():
        reports.append(report)
        found |= {child.pid for child in spawned()}
    return reports, found


def test_waiting_trials_take_the_places_of_those_that_have_ended(tmp_path: Path) -> None:
    document = sweep_document(space={"training.seed": {"values": list(range(6))}}, resources={"pack_size": 2})
    reports, found = processes(LocalSweep(parse_sweep(document), tmp_path / "together", workers=1))
    assert len(found) == 1, "no process is started but the first"
    assert {r.trial_id: r.outcome for r in reports if isinstance(r, Ended)} == {str(n): "succeeded" for n in range(6)}
    first = min(i for i, r in enumerate(reports) if isinstance(r, Ended))
    assert {r.trial_id for r in reports[:first]} <= {"0", "1"}
    whole = parse_sweep(document | {"resources": {"pack_size": 6}})
    assert measured(reports) == measured(list(LocalSweep(whole, tmp_path / "whole", workers=1).run()))


def test_trials_of_another_shape_get_a_process_of_their_own(tmp_path: Path) -> None:
    space = {"model.hidden_size": {"values": [4, 6]}, "training.seed": {"values": [0, 1]}}
    document = sweep_document(space=space, resources={"pack_size": 1})
    document["model"] = {"reflectors": 2}
    reports, found = processes(LocalSweep(parse_sweep(document), tmp_path, workers=1))
    assert len(found) == 2
    assert [r.outcome for r in reports if isinstance(r, Ended)] == ["succeeded"] * 4


def test_a_process_that_is_killed_after_it_got_trials_loses_none(tmp_path: Path) -> None:
    document = sweep_document(space={"training.seed": {"values": list(range(4))}}, resources={"pack_size": 1})
    document["training"] |= {"steps": 400}
    local, killed, ended = LocalSweep(parse_sweep(document), tmp_path, workers=1), False, []
    for report in local.run():
        ended += [report.outcome] if isinstance(report, Ended) else []
        if len(ended) == 2 and isinstance(report, Measured) and not killed:
            killed = True
            for child in spawned():
                child.kill()
    assert killed
    assert ended == ["succeeded"] * 4
    assert [result.step for result in local.results] == [400] * 4

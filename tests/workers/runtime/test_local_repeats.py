"""A sweep with repeats on this machine: the trials of a point share a pack, and the results say how they spread."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, stdev

import pytest

from service.cli import training
from tests.workers.examples import sweep_document
from workers.protocol import Ended
from workers.runtime.local_sweep import RESULTS, LocalSweep
from workers.spec.parse import parse_sweep

REFLECTORS = {"model.reflectors": {"values": [1, 2]}}


def test_points_have_the_spread_of_their_trials(tmp_path: Path) -> None:
    sweep = parse_sweep(sweep_document(space=REFLECTORS, repeats=3, resources={"pack_size": 4}))
    local = LocalSweep(sweep, tmp_path, workers=1)
    packs = [[int(trial.trial_id) for trial in pack.trials] for pack in local._assignments(local.trials)]
    assert sorted(packs) == [[0, 1, 2], [3, 4, 5]]
    assert local.best is None
    reports = list(local.run())
    assert [report.outcome for report in reports if isinstance(report, Ended)] == ["succeeded"] * 6
    losses = [result.objective for result in local.results]
    assert len(set(losses)) == 6
    results = json.loads((tmp_path / RESULTS).read_text())
    assert len(results["points"]) == 2
    for point in results["points"]:
        own = [trial["objective"] for trial in results["trials"][3 * point["number"] : 3 * point["number"] + 3]]
        assert (point["n"], point["objective"]) == (3, point["mean"])
        assert point["mean"] == pytest.approx(fmean(own))
        assert point["sd"] == pytest.approx(stdev(own))
        assert point["interval"][0] < point["mean"] < point["interval"][1]
    means = [point["mean"] for point in results["points"]]
    assert means == sorted(means)
    assert local.best is not None
    assert local.best.number // 3 == local.points[0].number
    assert local.best.objective == min(repeat.objective or 1e9 for repeat in local.points[0].repeats)
    assert results["best"] == local.best.number


def test_a_sampler_that_learns_gets_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = {"training.lr": {"low": 0.001, "high": 0.1, "log": True}}
    search = {"sampler": "tpe", "trials": 4, "options": {"startup_trials": 2, "concurrent": 1}}
    document = sweep_document(space=space, search=search, repeats=2)
    training.train(document, tmp_path)
    local = LocalSweep(parse_sweep(document), tmp_path)
    rates = [trial.params["training.lr"] for trial in local.trials]
    assert rates[::2] == rates[1::2]
    assert len(set(rates)) == 4
    assert [trial.training.seed for trial in local.trials] == [0, 1] * 4
    assert "95 % interval of the mean" in capsys.readouterr().out

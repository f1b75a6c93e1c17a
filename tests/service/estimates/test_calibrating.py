"""A calibration in processes of its own: what it measures, and what it says if it cannot."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from service.estimates import calibrating
from service.estimates.calibrating import CalibrationBusy, CalibrationFailed, calibrate
from service.estimates.pack_costs import PackProfile
from tests.service.estimates.examples import seeds, sweep_of
from workers.spec.cost import Calibration

TRIALS = sweep_of(space=seeds(3))[1]
OTHERS = sweep_of(space=seeds(2), model={"kind": "lstm", "hidden_size": 6})[1]


def test_a_calibration_measures_each_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "STEP_SECONDS", 0.2)
    calibration = calibrate([TRIALS, OTHERS], 1.0, 0.0, 1, None, tmp_path)
    assert 0 < calibration.busy < 1.5
    found = calibration.costs
    assert [cost.shape for cost in found] == [PackProfile.of(pack).shape for pack in (TRIALS, OTHERS)]
    assert [cost.kind for cost in found] == ["spectral_rnn", "lstm"]
    assert [(cost.trials, cost.size, cost.work) for cost in found] == [
        (len(pack), len(pack), pytest.approx(PackProfile.of(pack).work)) for pack in (TRIALS, OTHERS)
    ]
    for cost in found:
        assert (cost.source, cost.cpus, cost.gpus, cost.gpu_peak_bytes) == ("calibration", 1.0, 0.0, None)
        assert cost.device.startswith("cpu: ")
        assert cost.steps >= 2
        assert 0 < cost.step_seconds < 5
        assert cost.evaluation_seconds is not None
        assert cost.evaluation_seconds > 0
        assert cost.checkpoint_seconds is not None
        assert cost.checkpoint_seconds > 0
        assert cost.peak_bytes is not None
        assert cost.peak_bytes > 50_000_000
    # only the first pack of a process waits for its imports
    assert found[0].start_seconds is not None
    assert found[1].start_seconds is None
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "STEP_SECONDS", 0.1)
    with pytest.raises(CalibrationFailed, match=r"^NoGpu: .*torch finds none"):
        calibrate([TRIALS], 1.0, 1.0, 1, None, None)


def test_a_process_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "sleeper"
    program.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(600)\n")
    program.chmod(0o755)
    monkeypatch.setattr(calibrating, "LIMIT_SECONDS", 0.1)
    monkeypatch.setattr(calibrating.sys, "executable", str(program))
    with pytest.raises(CalibrationFailed, match="did not end within"):
        calibrate([TRIALS], 1.0, 0.0, 2, None, None)


def test_one_calibration_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    under_way, finish = threading.Event(), threading.Event()

    def run(_request: str, _copies: int) -> list[Calibration]:
        under_way.set()
        finish.wait(30)
        return [Calibration(costs=[], busy=1.0)]

    monkeypatch.setattr(calibrating, "_run", run)
    first = threading.Thread(target=calibrate, args=([TRIALS], 1.0, 0.0, 1, None, None))
    first.start()
    assert under_way.wait(30)
    with pytest.raises(CalibrationBusy):
        calibrate([TRIALS], 1.0, 0.0, 1, None, None)
    finish.set()
    first.join()
    assert calibrate([TRIALS], 1.0, 0.0, 1, None, None).costs == []

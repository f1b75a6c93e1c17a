"""The load of a runner's machine, as metrics beside those of its trials."""

from __future__ import annotations

import sys

import pytest

from workers.runtime import machine_load
from workers.runtime.machine_load import MachineLoad


def test_the_load_is_finite_and_named_as_mlflow_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_load, "SAMPLE_SECONDS", 0.0)
    load = MachineLoad(gpu=False)
    assert "system/cpu_utilization_percentage" not in load.sample()  # there is nothing yet that it could be since
    found = load.sample()
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= found.keys()
    assert all(name.startswith("system/") and 0 <= value < float("inf") for name, value in found.items())
    assert found["system/process_memory_megabytes"] > 1
    assert not any("gpu" in name for name in found)


def test_reports_at_about_the_same_time_share_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    load = MachineLoad(gpu=False)
    first = load.sample()
    assert load.sample() is first
    monkeypatch.setattr(machine_load, "SAMPLE_SECONDS", 0.0)
    assert load.sample() is not first


def test_without_psutil_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert MachineLoad(gpu=False).sample() == {}

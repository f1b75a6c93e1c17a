"""When steps are captured, replayed and run kernel by kernel; with a stand-in for CUDA's graphs."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from workers.training.step_graph import StepGraph

CPU = torch.device("cpu")


class Recorded(StepGraph):
    """A ``StepGraph`` whose graphs write down what is done with them."""

    def __init__(self, *, check: Exception | None = None, capture: Exception | None = None) -> None:
        super().__init__(CPU, wanted=True)
        self._wanted, self.check, self.capture = True, check, capture
        self.did: list[str] = []

    def _check(self, rehearse: Any) -> None:
        rehearse()
        if self.check is not None:
            raise self.check

    def _captured(self, step: Any, probe: bool) -> Any:
        self.did.append(f"captured {probe}")
        if self.capture is not None:
            raise self.capture
        return Graph(self.did, probe)

    def steps(self, *probes: bool) -> list[str]:
        for probe in probes:
            self.run(lambda p: self.did.append(f"step {p}"), lambda: self.did.append("rehearsed"), probe=probe)
        return self.did


class Graph:
    def __init__(self, did: list[str], probe: bool) -> None:
        self.did, self.probe = did, probe

    def replay(self) -> None:
        self.did.append(f"replayed {self.probe}")

    def reset(self) -> None:
        self.did.append(f"freed {self.probe}")


@pytest.fixture(autouse=True)
def without_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)


def test_the_first_step_warms_up_and_probed_steps_have_a_graph_of_their_own() -> None:
    found = Recorded().steps(False, False, False, True, True, False)
    first = ["step False", "rehearsed", "captured False", "replayed False", "replayed False"]
    assert found == [*first, "captured True", "replayed True", "replayed True", "replayed False"]


def test_graphs_that_were_freed_are_captured_again() -> None:
    graph = Recorded()
    graph.steps(False, False)
    assert graph.captured
    graph.release()
    assert not graph.captured
    assert graph.steps(False)[-4:] == ["freed False", "rehearsed", "captured False", "replayed False"]


@pytest.mark.parametrize("where", ["check", "capture"])
def test_what_cannot_be_captured_runs_kernel_by_kernel_and_that_is_said_once(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    graph = Recorded(**{where: RuntimeError("called a synchronizing CUDA operation\nand more")})
    with caplog.at_level(logging.WARNING):
        found = graph.steps(False, False, True, False)
    assert [did for did in found if did.startswith("step")] == ["step False", "step False", "step True", "step False"]
    assert not any("replayed" in did for did in found)
    assert [record.getMessage() for record in caplog.records] == [
        "the training step is not captured as a CUDA graph and runs kernel by kernel: "
        "called a synchronizing CUDA operation"
    ]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")]
)
def test_too_little_memory_is_no_reason_to_go_on_without_a_graph(error: Exception) -> None:
    graph = Recorded()
    graph.steps(False, False)
    graph.capture = error
    with pytest.raises(type(error)):
        graph.steps(True)
    assert graph.did[-2:] == ["captured True", "freed False"]
    assert not graph.captured

"""A fake Ray for the benchmark of ticks: one node, and runners that either train for ever or are done at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.controller.cluster import Death
from service.controller.node import Node
from workers.protocol import Assignment, Ended, Measured, Poll


class FakeRunner:
    """The handle of a runner. Its answers are there at once, so a call returns the answer itself.

    Args:
        assignment: What it trains.
        done: Whether all trials have ended when it is first asked, each with one report; else it never reports.
    """

    def __init__(self, assignment: Assignment, done: bool) -> None:
        self.poll = self.command = self
        self._trials, self._done = assignment.trials, done

    def remote(self, *arguments: Any) -> _Answer:
        """Answer a poll: its arguments are the last report that was read, and the term."""
        after_seq = int(arguments[0])
        reports: list[Measured | Ended] = []
        for place, trial in enumerate(self._trials if self._done else ()):
            step, seq, trial_id = trial.spec.training.steps, 2 * place + 1, trial.trial_id
            values = {trial.spec.objective.metric: 1.0 / (1 + trial.spec.number)}
            reports.append(Measured(seq=seq, trial_id=trial_id, step=step, values=values))
            reports.append(Ended(seq=seq + 1, trial_id=trial_id, step=step, outcome="succeeded"))
        fresh = [report for report in reports if report.seq > after_seq]
        return _Answer(Poll(state="ended" if self._done else "running", reports=fresh, progress={}).model_dump())


class _Answer:
    """An answer that is there, as a reference to it."""

    def __init__(self, value: dict[str, Any]) -> None:
        self.value = value


class FakeRay:
    """The functions of ``ray`` that the controller uses to collect answers."""

    def wait(
        self, refs: Sequence[_Answer], num_returns: int, timeout: float
    ) -> tuple[Sequence[_Answer], Sequence[_Answer]]:
        """Return all references as ready."""
        return refs, []

    def get(self, ref: _Answer) -> dict[str, Any]:
        """Return an answer."""
        return ref.value


class FakeCluster:
    """A connected cluster of one node.

    Args:
        cpus: The CPUs of its node.
        done: Whether its runners end all of their trials at once.
    """

    connected, connections = True, 1

    def __init__(self, cpus: float, done: bool) -> None:
        self._node, self._done = Node("node", cpus, 0.0), done
        self._runners: dict[str, FakeRunner] = {}

    def nodes(self) -> list[Node]:
        """Return the node."""
        return [self._node]

    def find(self, name: str) -> FakeRunner | None:
        """Return a runner; None if there is none with this name."""
        return self._runners.get(name)

    def start(self, assignment: Assignment, name: str) -> FakeRunner:
        """Start a runner, or return the one with this name."""
        return self._runners.setdefault(name, FakeRunner(assignment, self._done))

    def kill(self, name: str) -> None:
        """End a runner."""
        self._runners.pop(name, None)

    def death(self, name: str) -> Death:
        """Return what was lost with a runner; it is never asked, because none dies."""
        return Death("process")

"""The runners of the open packs, each with its Ray handle: start or adopt them by name, poll, command and end them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from service.controller.cluster import Cluster
from service.controller.runner_requests import PollResult, RunnerRequests
from service.settings import ControllerSettings
from service.store import attempts, trials
from service.store.tables import Pack
from workers.protocol import AssignedTrial, Assignment, Command
from workers.spec.expand import plan_trial
from workers.spec.sweep import SweepSpec

SILENT_SECONDS = 120.0
"""A runner that has answered before is given up after this many seconds without an answer."""
START_SECONDS = 900.0
"""A runner that has never answered is given up after this many seconds: it may wait for CPUs or for a slow disk."""


def runner_name(pack_id: str, attempt: int) -> str:
    """Return the name, unique for ever, of the runner in Ray that trains a pack.

    Args:
        pack_id: The pack.
        attempt: The highest attempt number of the pack's trials.
    """
    return f"pack-{pack_id}-a{attempt}"


def find_runner_name(session: Session, pack: Pack) -> str:
    """Return the name of a stored pack's runner in Ray."""
    return runner_name(pack.id, attempts.number_of_pack(session, pack.id))


def assignment(session: Session, pack: Pack, spec: SweepSpec, settings: ControllerSettings, term: int) -> Assignment:
    """Return what a pack's runner is told: its trials with their specifications and folders, its CPUs and GPUs.

    Raises:
        workers.errors.SpecError: If one of the trials cannot be trained.
    """
    folder = settings.checkpoint_dir.resolve() / pack.sweep_id
    assigned = [trials.get(session, trial_id) for trial_id in pack.trial_ids]
    return Assignment(
        pack_id=pack.id,
        attempt=attempts.number_of_pack(session, pack.id),
        term=term,
        trials=[
            AssignedTrial(
                trial_id=t.id,
                spec=plan_trial(spec, t.number, t.params).require_spec(),
                checkpoint_dir=str(folder / t.id),
            )
            for t in assigned
        ],
        cpus=pack.cpus,
        gpus=pack.gpus,
        memory=pack.memory,
        labels=spec.resources.labels,
        node=pack.node,
        data_dir=str(settings.data_dir.absolute()) if settings.data_dir else None,
        keep_every=spec.checkpoints.keep_every,
        orphan_ttl=settings.orphan_ttl_seconds,
    )


class Runners:
    """Starts, polls, commands and ends the runners of packs, and keeps the Ray handle of each.

    Nothing here must survive the process: the next controller finds the runners again by their names.
    """

    def __init__(self, cluster: Cluster, term: int) -> None:
        self._cluster, self._term = cluster, term
        self._handles: dict[str, Any] = {}
        self._requests = RunnerRequests()
        self._connection = cluster.connections

    def _begin_anew(self) -> None:
        """Drop the handles and the pending polls of an earlier connection to Ray: they do not work in another one."""
        if self._connection != self._cluster.connections:
            self._handles, self._requests = {}, RunnerRequests()
            self._connection = self._cluster.connections

    def start(self, work: Assignment) -> None:
        """Start the runner of a pack, or adopt the living one that has its name already; keep its handle."""
        self._begin_anew()
        name = runner_name(work.pack_id, work.attempt)
        self._handles[work.pack_id] = self._cluster.start(work, name)

    def poll(self, open_packs: Sequence[tuple[Pack, str]], wait: float) -> list[PollResult]:
        """Poll the runners of started packs, and return what has come in by then.

        Args:
            open_packs: Each pack with the name of its runner.
            wait: How many seconds the runners have to answer.

        Returns:
            The answers that have come in time, also to earlier polls; polls that failed (``silent``); runners that are
            ``dead``; and runners that are given up (``timed out``), or that this version does not understand
            (``foreign``). The caller has to end the last three.

        Raises:
            LeadLost: If a runner obeys a controller with a newer term.
        """
        self._begin_anew()
        gone = []
        for pack, name in open_packs:
            handle = self._handles.get(pack.id) or self._cluster.find(name)
            if handle is None:
                self.forget(pack.id)
                gone.append(PollResult(pack.id, problem="dead", message=f"Ray no longer has a runner named {name}"))
                continue
            self._handles[pack.id] = handle
            self._requests.poll(pack.id, handle, pack.last_seq, self._term)
        return [*gone, *self._requests.collect(wait), *self._timed_out(open_packs)]

    def _timed_out(self, open_packs: Sequence[tuple[Pack, str]]) -> list[PollResult]:
        found = []
        for pack, _ in open_packs:
            limit = START_SECONDS if pack.seen_at is None else SILENT_SECONDS
            seconds = self._requests.silent_for(pack.id)
            if seconds > limit:
                message = f"its runner has not answered for {seconds:.0f} s, and is given up after {limit:.0f} s"
                found.append(PollResult(pack.id, problem="timed out", message=message))
        return found

    def command(self, pack: Pack, command: Command) -> None:
        """Send a command to a pack's runner without waiting. Do nothing if its handle is not known yet."""
        self._begin_anew()
        handle = self._handles.get(pack.id) if self._cluster.connected else None
        if handle is not None:
            self._requests.command(pack.id, handle, self._term, command)

    def end(self, pack_id: str, name: str) -> None:
        """End the process of the pack's runner, named ``name``, if it is still there, and drop what is known of it."""
        self._cluster.kill(name)
        self.forget(pack_id)

    def forget(self, pack_id: str) -> None:
        """Drop the handle and the pending poll of a pack's runner."""
        self._handles.pop(pack_id, None)
        self._requests.forget(pack_id)

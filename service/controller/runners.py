"""The runners of open packs: started or adopted by name, polled, told, ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from service.controller.cluster import Cluster
from service.controller.polling import Answer, Polls
from service.settings import ControllerSettings
from service.store import packs
from service.store.tables import Pack, Trial
from workers.protocol import AssignedTrial, Assignment, Command
from workers.spec.expand import plan_trial
from workers.spec.sweep import SweepSpec

SILENT_SECONDS = 120.0
"""A runner that has answered before and does not any more, for this long, is given up."""
START_SECONDS = 900.0
"""A runner that has not answered once may still wait for room, a node or a slow disk."""


def runner_name(pack_id: str, attempt: int) -> str:
    return f"pack-{pack_id}-a{attempt}"


def assignment(session: Session, pack: Pack, spec: SweepSpec, settings: ControllerSettings, term: int) -> Assignment:
    """What the runner of a pack is told to train."""
    folder = settings.checkpoint_dir.resolve() / pack.sweep_id
    trials = [session.get_one(Trial, trial_id) for trial_id in pack.trial_ids]
    return Assignment(
        pack_id=pack.id,
        attempt=packs.attempt_number(session, pack.id),
        term=term,
        slots=[
            AssignedTrial(
                trial_id=t.id,
                spec=plan_trial(spec, t.number, t.params).require_spec(),
                checkpoint_dir=str(folder / t.id),
            )
            for t in trials
        ],
        cpus=pack.cpus,
        gpus=pack.gpus,
        data_dir=str(settings.data_dir.absolute()) if settings.data_dir else None,
        orphan_ttl=settings.orphan_ttl_seconds,
    )


class Runners:
    """Handles and open questions; nothing here has to outlive the process, all of it is found again by name."""

    def __init__(self, cluster: Cluster, term: int) -> None:
        self._cluster, self._term = cluster, term
        self._handles: dict[str, Any] = {}
        self._polls = Polls()

    def start(self, given: Assignment) -> None:
        """The pack has a runner when this returns: the one that was there, or a new one."""
        name = runner_name(given.pack_id, given.attempt)
        self._handles[given.pack_id] = self._cluster.start(given, name)

    def poll(self, open_packs: Sequence[tuple[Pack, str]], wait: float) -> list[Answer]:
        """Ask every started pack (given with its runner's name) and give what has been answered within ``wait``."""
        gone = []
        for pack, name in open_packs:
            handle = self._handles.get(pack.id) or self._cluster.find(name)
            if handle is None:
                self.forget(pack.id)
                gone.append(Answer(pack.id, trouble="dead", message=f"Ray has no runner named {name} any more"))
                continue
            self._handles[pack.id] = handle
            self._polls.ask(pack.id, handle, pack.last_seq, self._term)
        return [*gone, *self._polls.collect(wait), *self._silent(open_packs)]

    def _silent(self, open_packs: Sequence[tuple[Pack, str]]) -> list[Answer]:
        found = []
        for pack, _ in open_packs:
            limit = START_SECONDS if pack.seen_at is None else SILENT_SECONDS
            seconds = self._polls.silent_for(pack.id)
            if seconds > limit:
                message = f"its runner has not answered for {seconds:.0f} s"
                found.append(Answer(pack.id, trouble="given up", message=message))
        return found

    def tell(self, pack: Pack, command: Command) -> None:
        handle = self._handles.get(pack.id)
        if handle is not None:
            self._polls.tell(pack.id, handle, self._term, command)

    def end(self, pack_id: str, name: str) -> None:
        """End the runner's process, if there is one, and forget it."""
        self._cluster.kill(name)
        self.forget(pack_id)

    def forget(self, pack_id: str) -> None:
        self._handles.pop(pack_id, None)
        self._polls.forget(pack_id)

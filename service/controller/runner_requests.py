"""Polling the runners: one question to each at a time, asked all at once, taken in as they answer."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, Literal

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RayTaskError

from service.store.database import LeadLost
from workers.protocol import Command, Poll, StaleTerm

log = logging.getLogger(__name__)

Trouble = Literal["dead", "silent", "given up"]


@dataclass(frozen=True)
class Answer:
    """``poll``, or what is wrong: dead (no process), silent (it may be training), given up (silent for too long)."""

    pack_id: str
    poll: Poll | None = None
    trouble: Trouble | None = None
    message: str = ""


@dataclass
class _Question:
    ref: Any
    silent_since: float


class Polls:
    """The open questions. A question is not asked again while it is open, so a slow runner is not flooded."""

    def __init__(self) -> None:
        self._open: dict[str, _Question] = {}
        self._silent: dict[str, float] = {}
        self._commands: list[tuple[str, Any]] = []

    def ask(self, pack_id: str, handle: Any, after_seq: int, term: int) -> None:
        if pack_id not in self._open:
            now = time.monotonic()
            ref = handle.poll.remote(after_seq, term)
            self._open[pack_id] = _Question(ref, self._silent.get(pack_id, now))

    def tell(self, pack_id: str, handle: Any, term: int, command: Command) -> None:
        """Send a command; a runner that cannot take it is found by the next poll, what went wrong is logged then."""
        self._commands.append((pack_id, handle.command.remote(term, command.model_dump())))

    def forget(self, pack_id: str) -> None:
        self._open.pop(pack_id, None)
        self._silent.pop(pack_id, None)

    def collect(self, wait: float) -> list[Answer]:
        """The answers that have come within ``wait`` seconds, and for how long the others have been silent."""
        self._check_commands()
        refs = {question.ref: pack_id for pack_id, question in self._open.items()}
        if not refs:
            return []
        ready, _ = ray.wait(list(refs), num_returns=len(refs), timeout=wait)
        return [self._answer(refs[ref], ref) for ref in ready]

    def silent_for(self, pack_id: str) -> float:
        """Seconds since the runner was first found silent."""
        question = self._open.get(pack_id)
        return time.monotonic() - question.silent_since if question else 0.0

    def _answer(self, pack_id: str, ref: Any) -> Answer:
        question = self._open.pop(pack_id)
        try:
            poll = Poll.model_validate(ray.get(ref))
        except RayError as error:
            if isinstance(error, RayTaskError) and isinstance(error.cause, StaleTerm):
                raise LeadLost(f"the runner of pack {pack_id} follows a newer controller") from error
            if isinstance(error, RayActorError) and not isinstance(error, ActorUnavailableError):
                self._silent.pop(pack_id, None)
                return Answer(pack_id, trouble="dead", message=str(error))
            self._silent[pack_id] = question.silent_since
            return Answer(pack_id, trouble="silent", message=str(error))
        self._silent.pop(pack_id, None)
        return Answer(pack_id, poll)

    def _check_commands(self) -> None:
        refs = {ref: pack_id for pack_id, ref in self._commands}
        if not refs:
            return
        ready, waiting = ray.wait(list(refs), num_returns=len(refs), timeout=0)
        self._commands = [(refs[ref], ref) for ref in waiting]
        for ref in ready:
            try:
                ray.get(ref)
            except RayError as error:
                log.warning("pack %s did not take a command; it is sent again if still needed: %s", refs[ref], error)

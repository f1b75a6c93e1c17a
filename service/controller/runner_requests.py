"""The asynchronous calls to runners that have not been answered: polls, at most one for each runner, and commands."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, Literal

import ray
from pydantic import ValidationError
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RayTaskError

from service.store.database import LeadLost
from workers.protocol import Command, Poll, StaleTerm
from workers.wording import first_problem

log = logging.getLogger(__name__)

RunnerProblem = Literal["dead", "silent", "timed out", "foreign"]


@dataclass(frozen=True)
class PollResult:
    """A runner's answer to a poll, or the problem that prevented it.

    Attributes:
        pack_id: The pack that the runner trains.
        poll: The answer; None if there is a problem.
        problem: ``dead`` if the process is gone, ``silent`` if this poll failed but the runner may still be training,
            ``timed out`` if it has been silent for too long, ``foreign`` if its answer is not one of this version; None
            if there is an answer.
        message: The problem, in the words of Ray or of this controller; empty if there is an answer.
    """

    pack_id: str
    poll: Poll | None = None
    problem: RunnerProblem | None = None
    message: str = ""


@dataclass
class _PendingPoll:
    """A poll without an answer yet.

    Attributes:
        ref: Ray's reference to the answer.
        silent_since: When the first of the runner's polls in a row without an answer was sent, on the monotonic clock.
    """

    ref: Any
    silent_since: float


class RunnerRequests:
    """Sends polls and commands to runners without waiting, and collects the answers later.

    A runner gets no second poll while the first one is pending, so that a slow runner is not flooded.
    """

    def __init__(self) -> None:
        self._pending: dict[str, _PendingPoll] = {}
        self._silent_since: dict[str, float] = {}
        self._commands: list[tuple[str, Any]] = []

    def poll(self, pack_id: str, handle: Any, after_seq: int, term: int) -> None:
        """Ask a runner for its reports numbered above ``after_seq``, unless an earlier poll of it is still pending."""
        if pack_id not in self._pending:
            now = time.monotonic()
            ref = handle.poll.remote(after_seq, term)
            self._pending[pack_id] = _PendingPoll(ref, self._silent_since.get(pack_id, now))

    def command(self, pack_id: str, handle: Any, term: int, command: Command) -> None:
        """Send a command without waiting. If it fails, ``collect`` logs that later."""
        self._commands.append((pack_id, handle.command.remote(term, command.model_dump())))

    def forget(self, pack_id: str) -> None:
        """Drop the pending poll of a pack's runner, and since when the runner has been silent."""
        self._pending.pop(pack_id, None)
        self._silent_since.pop(pack_id, None)

    def collect(self, wait: float) -> list[PollResult]:
        """Return the results of the pending polls that are answered or fail within ``wait`` seconds.

        Return as soon as all have been answered. Commands that have failed since the last call are logged.

        Raises:
            LeadLost: If a runner obeys a controller with a newer term.
        """
        self._log_failed_commands()
        refs = {pending.ref: pack_id for pack_id, pending in self._pending.items()}
        if not refs:
            return []
        ready, _ = ray.wait(list(refs), num_returns=len(refs), timeout=wait)
        return [self._result(refs[ref], ref) for ref in ready]

    def silent_for(self, pack_id: str) -> float:
        """Return for how many seconds a runner has left polls in a row unanswered; 0 if no poll of it is pending."""
        pending = self._pending.get(pack_id)
        return time.monotonic() - pending.silent_since if pending else 0.0

    def _result(self, pack_id: str, ref: Any) -> PollResult:
        pending = self._pending.pop(pack_id)
        try:
            poll = Poll.model_validate(ray.get(ref))
        except RayError as error:
            if isinstance(error, RayTaskError) and isinstance(error.cause, StaleTerm):
                raise LeadLost(f"the runner of pack {pack_id} obeys a controller with a newer term") from error
            if isinstance(error, RayActorError) and not isinstance(error, ActorUnavailableError):
                self._silent_since.pop(pack_id, None)
                return PollResult(pack_id, problem="dead", message=str(error))
            self._silent_since[pack_id] = pending.silent_since
            return PollResult(pack_id, problem="silent", message=str(error))
        except ValidationError as error:
            self._silent_since.pop(pack_id, None)
            message = f"its runner is of another version, whose answers this one cannot read: {first_problem(error)}"
            return PollResult(pack_id, problem="foreign", message=message)
        self._silent_since.pop(pack_id, None)
        return PollResult(pack_id, poll)

    def _log_failed_commands(self) -> None:
        refs = {ref: pack_id for pack_id, ref in self._commands}
        if not refs:
            return
        ready, waiting = ray.wait(list(refs), num_returns=len(refs), timeout=0)
        self._commands = [(refs[ref], ref) for ref in waiting]
        for ref in ready:
            try:
                ray.get(ref)
            except RayError as error:
                log.warning(
                    "A command to the runner of pack %s failed; it is sent again if still needed: %s", refs[ref], error
                )

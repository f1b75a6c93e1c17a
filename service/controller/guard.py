"""The guard around each action on a sweep: an error that keeps coming fails that sweep, and not the controller."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from pydantic import ValidationError
from ray.exceptions import RayError
from sqlalchemy.exc import InterfaceError, OperationalError

from service.controller import sweep_lifecycle
from service.controller.cluster import ClusterUnreachable
from service.controller.context import ReconcileContext
from service.controller.runners import find_runner_name
from service.store import packs
from service.store.database import LeadLost
from workers.spec.field_errors import field_errors

log = logging.getLogger(__name__)

MAX_CONSECUTIVE_ERRORS = 10
"""A sweep fails when the same action on it has raised an unexpected error this many times in a row."""


class SweepGuard:
    """Runs actions on sweeps. If an action fails too often in a row on a sweep, the sweep is failed."""

    def __init__(self, context: ReconcileContext) -> None:
        self._context = context
        self._errors: Counter[tuple[str, str]] = Counter()

    def run(self, sweep_id: str, action: str, act: Callable[[], None]) -> None:
        """Call ``act``, and fail the sweep if that raises an error which belongs to the sweep.

        A pydantic ValidationError means that the stored document is invalid, and fails the sweep at once. Any other
        error fails it when the same action has raised one ``MAX_CONSECUTIVE_ERRORS`` times in a row; until then the
        error is only counted. A failing sweep's runners are ended first, if there is a connection to Ray.

        Args:
            sweep_id: The sweep that ``act`` works on.
            action: The action's name. Errors are counted by sweep and action, since another action on the same sweep
                may succeed each time.
            act: The action. It must be idempotent, because the next tick repeats it after an error.

        Raises:
            LeadLost: If another controller leads by now.
            ClusterUnreachable: If there is no connection to Ray.
            ray.exceptions.RayError: If a call to Ray fails.
            sqlalchemy.exc.OperationalError: If the database cannot be reached, or is locked.
            sqlalchemy.exc.InterfaceError: If the database's driver fails.
        """
        try:
            act()
        except (LeadLost, ClusterUnreachable, RayError, OperationalError, InterfaceError):
            raise
        except ValidationError as error:
            problem = field_errors(error)[0]
            self._fail(
                sweep_id, f"its stored document is not valid in this version: {problem}. Post it again, corrected"
            )
        except Exception as error:
            self._errors[sweep_id, action] += 1
            if self._errors[sweep_id, action] == 1:
                log.exception("Sweep %s: unexpected error in %r; trying again", sweep_id, action)
            if self._errors[sweep_id, action] >= MAX_CONSECUTIVE_ERRORS:
                found = f"{type(error).__name__}: {error}"
                self._fail(
                    sweep_id, f"{action!r} failed {MAX_CONSECUTIVE_ERRORS} times in a row in the controller: {found}"
                )
        else:
            self._errors.pop((sweep_id, action), None)

    def _fail(self, sweep_id: str, reason: str) -> None:
        log.error("Sweep %s fails: %s", sweep_id, reason)
        context = self._context
        with context.read() as session:
            running = [(pack.id, find_runner_name(session, pack)) for pack in packs.open_packs(session, sweep_id)]
        if context.cluster.connected:
            for pack_id, name in running:
                context.runners.end(pack_id, name)
        with context.write() as session:
            sweep_lifecycle.fail(session, sweep_id, reason)
        for key in [key for key in self._errors if key[0] == sweep_id]:
            del self._errors[key]

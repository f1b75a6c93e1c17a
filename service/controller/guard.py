"""The guard around each action on a sweep: an error that keeps coming fails that sweep, and not the controller."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from ray.exceptions import RayError

from service.controller import sweep_lifecycle
from service.controller.cluster import ClusterUnreachable
from service.controller.context import InvalidDocument, ReconcileContext
from service.controller.runners import find_runner_name
from service.store import packs
from service.store.database import LeadLost, is_unavailable
from service.store.errors import NotFound
from workers.errors import SamplerError, store_problem

log = logging.getLogger(__name__)

MAX_CONSECUTIVE_ERRORS = 10
"""A sweep fails when the same action on it has raised an unexpected error at least this many times in a row,"""
MIN_SECONDS = 20.0
"""and has done so for this many seconds."""


@dataclass
class _Errors:
    """The errors that an action has raised in a row: how many, and since when on the monotonic clock."""

    count: int
    since: float


class SweepGuard:
    """Runs actions on sweeps. If an action fails too often in a row on a sweep, the sweep is failed."""

    def __init__(self, context: ReconcileContext) -> None:
        self._context = context
        self._errors: dict[tuple[str, str], _Errors] = {}

    def run(self, sweep_id: str, action: str, act: Callable[[], None]) -> None:
        """Call ``act``, and fail the sweep if that raises an error which belongs to the sweep.

        InvalidDocument, of the sweep's stored document, and SamplerError fail the sweep at once: they would come again.
        Any other error fails it when the same action has raised one ``MAX_CONSECUTIVE_ERRORS`` times in a row and for
        ``MIN_SECONDS``; until then the error is only counted. A failing sweep's runners are ended first, if there is a
        connection to Ray.

        A sweep that a user has deleted after it was chosen in this tick is passed over.

        An error of the checkpoint store (full, read-only, failing) is nobody's fault: it is noted for the health of the
        store, which holds back launching, and not counted.

        Args:
            sweep_id: The sweep that ``act`` works on.
            action: The action's name. Errors are counted by sweep and action, since another action on the same sweep
                may succeed each time.
            act: The action. It must be idempotent, because the next tick repeats it after an error.

        Raises:
            LeadLost: If another controller leads by now.
            ClusterUnreachable: If there is no connection to Ray.
            ray.exceptions.RayError: If a call to Ray fails.
            sqlalchemy.exc.SQLAlchemyError: If the database cannot be used (``is_unavailable``): it cannot be reached,
                or is locked, full, read-only or damaged.
        """
        try:
            act()
        except (LeadLost, ClusterUnreachable, RayError):
            raise
        except InvalidDocument as error:
            self._fail(sweep_id, f"{error}. Post it again, corrected")
        except SamplerError as error:
            log.error("Sweep %s: its sampler fails", sweep_id, exc_info=error)
            self._fail(sweep_id, str(error))
        except NotFound as error:
            if (error.noun, error.id) != ("sweep", sweep_id):
                self._count(sweep_id, action, error)
        except Exception as error:
            if is_unavailable(error):
                raise
            problem = store_problem(error)
            if problem is not None:
                self._context.checkpoint_store.fail(problem)
                return
            self._count(sweep_id, action, error)
        else:
            self._errors.pop((sweep_id, action), None)

    def _count(self, sweep_id: str, action: str, error: Exception) -> None:
        errors = self._errors.setdefault((sweep_id, action), _Errors(0, time.monotonic()))
        errors.count += 1
        if errors.count == 1:
            log.error("Sweep %s: unexpected error in %r; trying again", sweep_id, action, exc_info=error)
        if errors.count >= MAX_CONSECUTIVE_ERRORS and time.monotonic() - errors.since >= MIN_SECONDS:
            found = f"{type(error).__name__}: {error}"
            self._fail(sweep_id, f"{action!r} failed {errors.count} times in a row in the controller: {found}")

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
        for pack_id, _ in running:
            context.command_log.forget(pack_id)
            context.checkpoint_store.forget(pack_id)
        for key in [key for key in self._errors if key[0] == sweep_id]:
            del self._errors[key]

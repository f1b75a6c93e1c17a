"""One look at the database for all event streams of a process, however many listen."""

from __future__ import annotations

import asyncio
import logging

from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import SQLAlchemyError

from service.states import SWEEP_ENDED
from service.store import sweeps
from service.store.database import Database

log = logging.getLogger(__name__)

FETCHES = 4
"""How many streams of one process read their events at once."""


class EventWatch:
    """Wakes the listeners of event streams whose sweep has news.

    While somebody listens, one query at a time asks for the last event and the state of every sweep that is listened
    to. A listener says what it has seen, so that nothing is missed between two of its calls.

    Args:
        database: Where to look.
        pause: Seconds between two looks.

    Attributes:
        fetching: Bounds the threads and connections with which all streams read their events.
    """

    def __init__(self, database: Database, pause: float) -> None:
        self._database, self._pause = database, pause
        self._waiting: dict[asyncio.Future[None], tuple[str, int]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._thread, self.fetching = CapacityLimiter(1), CapacityLimiter(FETCHES)

    async def news(self, sweep_id: str, seen: int, patience: float) -> bool:
        """Wait until a sweep has an event after number ``seen``, or has ended; return False after ``patience`` seconds.

        It also returns True for a sweep that is not there any more.
        """
        woken = asyncio.get_running_loop().create_future()
        self._waiting[woken] = (sweep_id, seen)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(patience):
                await woken
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(woken, None)
        return True

    async def _look(self) -> None:
        while self._waiting:
            asked = dict(self._waiting)
            try:
                heads = await to_thread.run_sync(
                    self._heads, {sweep_id for sweep_id, _ in asked.values()}, limiter=self._thread
                )
            except SQLAlchemyError as error:
                log.warning("event streams: the database did not answer; trying again: %s", error)
            else:
                for woken, (sweep_id, seen) in asked.items():
                    newest, state = heads.get(sweep_id, (None, ""))
                    if not woken.done() and (newest is None or newest > seen or state in SWEEP_ENDED):
                        woken.set_result(None)
            await asyncio.sleep(self._pause)

    def _heads(self, ids: set[str]) -> dict[str, tuple[int, str]]:
        with self._database.read() as session:
            return sweeps.heads(session, ids)

"""``/v1/sweeps/{id}/events``: what happens in a sweep, as server-sent events that can be resumed without loss."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header, Query
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.responses import Response

from service import schemas
from service.api.deps import Context, Ctx, SweepId
from service.api.strict_query import Known
from service.states import SWEEP_ENDED
from service.store import events, sweeps
from service.store.errors import NotFound
from service.store.tables import Event

log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1/sweeps", tags=["sweeps"], dependencies=[Known])

KEEPALIVE_SECONDS = 15.0
Seq = Annotated[int | None, Query(ge=0, le=2**53, description="Number of the last event already known; 0 streams all.")]
LastSeen = Annotated[
    int | None,
    Header(
        alias="Last-Event-ID",
        ge=0,
        le=2**53,
        description="The same as ``after``, as browsers send it when they reconnect; it takes precedence.",
    ),
]


@router.get("/{sweep_id}/events", response_class=Response, responses={200: {"content": {"text/event-stream": {}}}})
def stream_events(sweep_id: SweepId, context: Ctx, after: Seq = None, last_event_id: LastSeen = None) -> Response:
    """Stream the sweep's events after the last one known, then each new one as it happens, until the sweep has ended.

    If the sweep has ended and has no later event, the status is 204; browsers then stop reconnecting.
    """
    seen = last_event_id if last_event_id is not None else after or 0
    found, over = _next_events(context, sweep_id, seen)
    if over and not found:
        return Response(status_code=204)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return EventSourceResponse(_stream(context, sweep_id, seen, found, over), headers=headers)


async def _stream(context: Context, sweep_id: str, seen: int, found: list[Event], over: bool) -> AsyncIterator[bytes]:
    """Yield ``found``, the first events after number ``seen``, then each new one; end when the sweep is ``over``.

    The stream of a sweep that is deleted ends too. A client that connects again is told that there is no such sweep.
    The database is asked for events only when the watch has seen that there are some.
    """
    while True:
        for event in found:
            yield _encoded(event)
            seen = event.seq
        if over and not found:
            return
        if not await context.watch.news(sweep_id, seen, KEEPALIVE_SECONDS):
            yield KEEPALIVE_COMMENT
            found, over = [], False
            continue
        try:
            look = partial(_next_events, context, sweep_id, seen)
            found, over = await to_thread.run_sync(look, limiter=context.watch.fetching)
        except NotFound:
            return
        except (OperationalError, InterfaceError, PoolTimeout) as error:
            log.warning("event stream of %s: the database did not answer; trying again: %s", sweep_id, error)
            await asyncio.sleep(context.settings.event_poll_seconds)
            found, over = [], False


def _next_events(context: Context, sweep_id: str, seen: int) -> tuple[list[Event], bool]:
    """Return the next events, at most 500, after number ``seen``, and whether the sweep has ended.

    The state is read before the events, so that the event of an end that is seen here is among them.
    """
    with context.database.read() as session:
        ended = sweeps.get(session, sweep_id).state in SWEEP_ENDED
        return events.after(session, sweep_id, seen), ended


def _encoded(event: Event) -> bytes:
    view = schemas.EventView.model_validate(event, from_attributes=True)
    return format_sse_event(data_str=view.model_dump_json(), event=event.kind, id=str(event.seq))

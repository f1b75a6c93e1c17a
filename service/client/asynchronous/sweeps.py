"""A sweep of the service, with what can be asked of it and done with it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from types import EllipsisType
from typing import Any, Literal, Self

from pydantic import PrivateAttr

from service.client import summaries
from service.client.asynchronous.rest import AsyncRestClient
from service.client.asynchronous.rows import AsyncRows, read_rows
from service.client.asynchronous.trials import AsyncTrialHandle
from service.client.display import ProgressDisplay
from service.client.errors import SweepFailed
from service.client.reading import read
from service.schemas import EventView, PointComparison, PointView, SweepReport, SweepSummary, SweepView
from service.states import SWEEP_ENDED


class AsyncListedSweep(SweepSummary):
    """A sweep of a list as the service last showed it, without its document, warnings and best trial.

    Its methods are those of the sweep in full. ``refresh``, ``wait`` and the calls that steer it bring its fields up
    to date.
    """

    _rest: AsyncRestClient = PrivateAttr()

    @classmethod
    def of(cls, rest: AsyncRestClient, answer: Any) -> Self:
        """Return the sweep of an answer of the service."""
        found = read(cls, answer)
        found._rest = rest
        return found

    @property
    def has_ended(self) -> bool:
        """Whether the sweep has succeeded or failed, or was stopped or cancelled, or has an end of a newer service."""
        return self.state in SWEEP_ENDED or self.ended_at is not None

    async def refresh(self) -> Self:
        """Fetch the sweep again, and return it."""
        return self._took(await self._rest.sweep(self.id))

    async def wait(
        self,
        *,
        progress: bool = True,
        timeout: float | None = None,
        check: bool = True,
        interval: float = 1.0,
    ) -> Self:
        """Wait until the sweep has ended, and return it.

        A sweep that was stopped or cancelled is returned like one that succeeded: somebody wanted it so. Trials that
        failed do not make their sweep fail; ``counts.failed`` counts them. If you interrupt the program with Ctrl-C,
        the sweep goes on, and ``wait`` can be called again.

        Args:
            progress: Whether to show the trials done, the best value, and the time left as the service estimates it: as
                a bar in terminals and notebooks, and elsewhere as lines on standard error.
            timeout: The largest number of seconds to wait; None for any.
            check: Whether to raise an error if the sweep has failed.
            interval: The seconds between two looks at the sweep.

        Raises:
            SweepFailed: The sweep has failed, and ``check`` is true.
            TimeoutError: The sweep has not ended in time. It goes on.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with ProgressDisplay(progress) as display:
            await self.refresh()
            display.update(self)
            while not self.has_ended:
                left = math.inf if until is None else until - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"the sweep {self.id} has not ended within {timeout:g} s; it goes on")
                await asyncio.sleep(min(interval, left))
                await self.refresh()
                display.update(self)
        if check and self.state == "failed":
            raise SweepFailed(self)
        return self

    def trials(
        self,
        sort: Literal["number", "objective"] = "number",
        state: Sequence[str] = (),
        limit: int | None = None,
    ) -> AsyncRows[AsyncTrialHandle]:
        """Return the trials that have been created, fetched page by page.

        Args:
            sort: ``number`` for ascending numbers; ``objective`` for the best trial first and those without a result
                last: those that have no objective, have failed or were cancelled.
            state: The states of the trials; all states if empty.
            limit: The largest number of trials; None for all of them.
        """

        def fetch() -> AsyncIterator[AsyncTrialHandle]:
            found = self._rest.trials(self.id, sort, state, limit)
            return read_rows(found, lambda answer: AsyncTrialHandle.of(self._rest, answer))

        return AsyncRows(f"trials of {self.id}", AsyncTrialHandle, "number", fetch)

    async def trial(self, number: int) -> AsyncTrialHandle:
        """Return the trial with a number, from 0.

        Raises:
            ApiError: With status 404 if it does not exist, or has not been created yet.
        """
        return AsyncTrialHandle.of(self._rest, await self._rest.trial(f"{self.id}-{number:04d}"))

    async def best_trial(self) -> AsyncTrialHandle:
        """Fetch the trial with the best objective so far, and return it.

        Raises:
            LookupError: No trial has a result yet.
        """
        best = (await self._rest.sweep(self.id))["best"]
        if best is None:
            raise LookupError(f"no trial of the sweep {self.id} has a result yet")
        return AsyncTrialHandle.of(self._rest, best)

    def points(self, limit: int | None = None) -> AsyncRows[PointView]:
        """Return the points, the best first: settings, each with the spread of its repeats; fetched page by page.

        Args:
            limit: The largest number of points; None for all of them.
        """

        def fetch() -> AsyncIterator[PointView]:
            return read_rows(self._rest.points(self.id, limit), lambda answer: read(PointView, answer))

        return AsyncRows(f"points of {self.id}", PointView, "number", fetch)

    async def compare(self, points: Sequence[int]) -> PointComparison:
        """Compare points with each other, by their trials of equal seeds.

        Args:
            points: The numbers of 2 to 20 points.
        """
        return read(PointComparison, await self._rest.compare(self.id, points))

    async def report(self, include: Sequence[str] = (), trial: int | None = None) -> SweepReport:
        """Return the 20 best trials, the objectives by reflectors and margin, and further parts.

        Args:
            include: The further parts: ``importance``, ``learning_curves``, ``best_so_far``, ``parallel_coordinates``,
                ``pareto``, ``diagnostics``. The others are None.
            trial: The number of the trial whose ``diagnostics`` are returned; None for the best one.
        """
        return read(SweepReport, await self._rest.report(self.id, include, trial))

    async def report_file(self, name: str, trial: int | None = None) -> bytes:
        """Return a file of the report.

        Args:
            name: ``report.html``, ``trials.csv``, ``optuna.db``, or a figure, such as ``figures/importance.svg``.
            trial: The number of the trial that ``figures/spectrum`` or ``figures/gradients`` shows; None for the best.
        """
        return await self._rest.report_file(self.id, name, trial)

    async def events(self, after: int = 0) -> AsyncIterator[EventView]:
        """Yield the events in order, each once: past ones first, then new ones as they happen, until the sweep ends.

        Args:
            after: The number of the last event that is already known; 0 yields all events, and ``last_event`` those
                that this object does not know.
        """
        async for event in self._rest.events(self.id, after):
            yield read(EventView, event)

    async def pause(self) -> Self:
        """Pause the sweep, and return it: running trials write a checkpoint and wait for ``resume``."""
        return self._took(await self._rest.pause(self.id))

    async def resume(self) -> Self:
        """Continue the sweep, which is paused, and return it: its trials go on from their checkpoints."""
        return self._took(await self._rest.resume(self.id))

    async def change(
        self,
        *,
        priority: int | EllipsisType = ...,
        max_parallel: int | EllipsisType | None = ...,
        tags: Sequence[str] | EllipsisType = ...,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
        archived: bool | EllipsisType = ...,
    ) -> Self:
        """Change the sweep, and return it. What is left out stays as it is.

        Args:
            priority: Sweeps of a higher one are trained first, and take the place of others; of a sweep that has not
                ended.
            max_parallel: How many of its trials run at the same time; None for as many as fit; likewise.
            tags: Words by which it is found again, in place of those that it has.
            add_tags: Words that it gets beside those that it has.
            remove_tags: Words that are taken from it.
            archived: Whether lists leave it out; True for a sweep that has ended.

        Raises:
            ApiError: With status 409 if the sweep's state does not permit the change.
        """
        given = {"priority": priority, "max_parallel": max_parallel, "archived": archived}
        fields: dict[str, Any] = {name: value for name, value in given.items() if not isinstance(value, EllipsisType)}
        if not isinstance(tags, EllipsisType):
            fields["tags"] = list(tags)
        fields |= {name: list(one) for name, one in (("add_tags", add_tags), ("remove_tags", remove_tags)) if one}
        return self._took(await self._rest.change(self.id, **fields))

    async def stop(self) -> Self:
        """Let the running trials finish and start no others. Return the sweep, which may not have ended yet."""
        return self._took(await self._rest.stop(self.id))

    async def cancel(self) -> Self:
        """End the sweep with all of its trials. Return it; it may not have ended yet."""
        return self._took(await self._rest.cancel(self.id))

    async def rerun(self, key: str | None = None) -> Self:
        """Run the failed trials again, and return the sweep; if it has ended, it is running again.

        Args:
            key: An idempotency key: a call with the same key again has no further effect.

        Raises:
            ApiError: With status 409 if nothing has failed, or if the sweep's state does not permit it.
        """
        return self._took(await self._rest.rerun(self.id, key))

    async def extend(
        self, trials: int | None = None, space: Mapping[str, Sequence[Any]] | None = None, key: str | None = None
    ) -> Self:
        """Give the sweep further trials, and return it; if it has ended, it is running again.

        The trials that exist keep their numbers, points and results.

        Args:
            trials: How many trials to add, for a sampler that takes a number of them.
            space: New values by the path of the dimension that gets them, for a grid.
            key: An idempotency key, as for ``rerun``.
        """
        return self._took(await self._rest.extend(self.id, trials, space, key))

    async def delete(self) -> None:
        """Delete the sweep, which has ended, with its trials, its checkpoints and its runs in MLflow.

        Raises:
            ApiError: With status 409 if the sweep has not ended, and 404 if it was deleted before.
        """
        await self._rest.delete(self.id)

    def _took(self, answer: Any) -> Self:
        """Bring the fields up to date, and return the sweep."""
        self.__dict__.update(read(type(self), answer).__dict__)
        return self

    def __repr__(self) -> str:
        return f"<sweep {self.id} {self.name!r}: {summaries.of_sweep(self)}>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return summaries.html_of_sweep(self)


class AsyncSweepHandle(AsyncListedSweep, SweepView):
    """A sweep as the service last showed it, in full.

    ``refresh``, ``wait`` and the calls that steer it bring its fields up to date.
    """

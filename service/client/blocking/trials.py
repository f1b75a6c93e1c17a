# Written by `make blocking-client` from the module of the same name in service/client/asynchronous.
"""A trial of the service, with what can be asked of it and done with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import PrivateAttr

from service.client import loading, summaries
from service.client.blocking.rest import RestClient
from service.client.frames import MetricHistory
from service.client.reading import read
from service.schemas import Logs, TrialLikeness, TrialView
from service.states import TRIAL_ENDED

if TYPE_CHECKING:
    from workers.models import SequenceModel


class TrialHandle(TrialView):
    """A trial as the service last showed it. ``refresh`` and the calls that steer it bring its fields up to date."""

    _rest: RestClient = PrivateAttr()

    @classmethod
    def of(cls, rest: RestClient, answer: Any) -> Self:
        """Return the trial of an answer of the service."""
        found = read(cls, answer)
        found._rest = rest
        return found

    @property
    def has_ended(self) -> bool:
        """Whether the trial has succeeded, failed, or was pruned or cancelled."""
        return self.state in TRIAL_ENDED

    def refresh(self) -> Self:
        """Fetch the trial again, and return it."""
        return self._took(self._rest.trial(self.id))

    def metrics(self, keys: Sequence[str] = (), points: int | None = None) -> MetricHistory:
        """Return reports of the trial in order of step.

        Args:
            keys: The names of the metrics to return; all if empty. Reports without any of them are left out.
            points: About how many reports to return, spread evenly over all; None for the first 10,000.
        """
        found = self._rest.metrics(self.id, keys, points)
        names = sorted({name for point in found for name in point["values"]})
        return read(MetricHistory, {"trial_id": self.id, "keys": names, "points": found})

    def logs(
        self,
        only: Literal["history", "output"] | None = None,
        *,
        after: str | None = None,
        events_after: int = 0,
        limit: int = 1_000,
    ) -> Logs:
        """Return the trial's history and the lines that its workers have printed.

        Args:
            only: ``history`` for its attempts and events alone, ``output`` for the lines alone; None for both.
            after: The ``id`` of a line, behind which the lines begin; None for the first ones.
            events_after: The number of an event, behind which the events begin; at most 1,000 are returned.
            limit: The largest number of lines, up to 2,000. ``more_lines`` says whether there are further ones.
        """
        found = self._rest.logs(self.id, only, after=after, events_after=events_after, limit=limit)
        return read(Logs, found)

    def weights(self, which: Literal["best", "last"] = "best") -> bytes:
        """Return the parameters of the best or last checkpoint, as the content of a safetensors file.

        Raises:
            ApiError: With status 404 if there is no such checkpoint, and 410 if it was removed.
        """
        return self._rest.weights(self.id, which)

    def load(self, which: Literal["best", "last"] = "best") -> SequenceModel:
        """Return the network of the best or last checkpoint as a module of torch, on the CPU and in eval mode.

        The service sends the parameters; its files need not be readable here. This needs torch, and takes as much
        memory as the network. Inputs have shape (B, T, input_size), or (B, T) if they are numbers of tokens.

        Raises:
            ApiError: With status 404 if there is no such checkpoint, and 410 if it was removed.
            NetworkUnreadable: This release cannot make the network, which another release has trained.
        """
        content = self._rest.weights(self.id, which)
        spec = (self._rest.sweep(self.sweep_id))["spec"]
        return loading.network_of(spec, self.number, self.params, content)

    def compare(self, other: TrialHandle | str | None = None) -> TrialLikeness:
        """Compare the trial's reports with those of another one, step by step.

        Args:
            other: The other trial or its id; None for the one that this is a replay of.
        """
        id = other.id if isinstance(other, TrialHandle) else other
        return read(TrialLikeness, self._rest.compare_trials(self.id, id))

    def stop(self) -> Self:
        """End the trial early; it keeps its checkpoints. Return it; it may not have ended yet."""
        return self._took(self._rest.stop(self.id))

    def cancel(self) -> Self:
        """End the trial without a new checkpoint, and return it; it may not have ended yet."""
        return self._took(self._rest.cancel(self.id))

    def rerun(self, key: str | None = None) -> Self:
        """Run the trial again, which has failed, and return it; its sweep is running again if it had ended.

        Args:
            key: An idempotency key: a call with the same key again has no further effect.

        Raises:
            ApiError: With status 409 if the trial has not failed, or if the sweep's state does not permit it.
        """
        return self._took(self._rest.rerun(self.id, key))

    def extend(self, steps: int, key: str | None = None) -> Self:
        """Give the trial, which has succeeded, more steps, and return it; it keeps its reports.

        Args:
            steps: How many steps it is to have, with those that it has done.
            key: An idempotency key, as for ``rerun``.
        """
        return self._took(self._rest.extend(self.id, steps=steps, key=key))

    def _took(self, answer: Any) -> Self:
        """Bring the fields up to date, and return the trial."""
        self.__dict__.update(read(type(self), answer).__dict__)
        return self

    def __repr__(self) -> str:
        return f"<trial {self.id}: {summaries.of_trial(self)}>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return summaries.html_of_trial(self)

# Written by `make blocking-client` from the module of the same name in service/client/asynchronous.
"""The client: it calls one service, and returns sweeps and trials as objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from service.client.blocking.rest import RestClient
from service.client.blocking.rows import Rows, read_rows
from service.client.blocking.sweeps import ListedSweep, SweepHandle
from service.client.blocking.trials import TrialHandle
from service.client.reading import read
from service.client.sweep_files import document_of
from service.schemas import ClusterView, DryRun, PruningRuleView, SamplerView, TaskView

if TYPE_CHECKING:
    import httpx

    from workers.spec.sweep import SweepSpec

    SweepSource = Mapping[str, Any] | SweepSpec | str | Path


class Client:
    """Calls one service. As a context manager it closes its connections at the end of the block.

    Sweeps and trials are objects with their fields as attributes, and times as datetimes in UTC. A field that only a
    newer service has is left out. ``rest`` is the client beneath, whose documents are dictionaries as they are in JSON.

    If the service cannot be reached or answers 503 or 429, a call is repeated until ``patience`` seconds have passed.
    That is safe: a call that arrives twice has the effect of one. Every method that calls the service, also of sweeps
    and trials, raises ApiError if the service answers with an error status, and ServiceUnreachable if none answers.

    Args:
        base_url: The address of the service, such as ``http://127.0.0.1:8000``.
        patience: For how many seconds a call is repeated while the server cannot be reached, or answers 503 or 429; 0
            for a single try.
        timeout: For how many seconds a single try waits for the connection, or for the next part of the answer.
        transport: An httpx transport of your own, for instance for certificates. By default a service on this machine
            is reached without a proxy, and one elsewhere by the proxy that the environment names for it.
        token: The token by which the service admits the calls; by default that of SPECTRAL_TOKEN, or of the file that
            SPECTRAL_TOKEN_FILE names, if one is set. It is sent to ``base_url`` alone: redirects are not followed.

    Attributes:
        rest: The client beneath.

    Raises:
        TokenUnusable: What is given as a token is none.
        ConnectionUnusable: The address, or the proxy or certificates that the environment names, cannot be used.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        patience: float = 30.0,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        token: str | None = None,
    ) -> None:
        self.rest = RestClient(base_url, patience=patience, timeout=timeout, transport=transport, token=token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the service. Neither the client nor its sweeps and trials can call it afterwards."""
        self.rest.close()

    def submit(self, sweep: SweepSource, key: str | None = None) -> SweepHandle:
        """Submit a sweep and return it as stored, without waiting for its trials.

        Args:
            sweep: Its document, a ``SweepSpec``, or the path of a document in JSON, YAML or TOML.
            key: An idempotency key: the same document with the same key again returns the existing sweep, and another
                document with the same key raises ApiError with status 409. By default every call makes a new key, which
                is kept while this call is repeated.

        Raises:
            DocumentUnreadable: The path is not that of a document.
        """
        return SweepHandle.of(self.rest, self.rest.submit(document_of(sweep), key))

    def validate(self, sweep: SweepSource, *, calibrate: bool = False) -> DryRun:
        """Check a sweep without submitting it, and return its trials, packs and warnings, and how long it will take.

        Args:
            sweep: The sweep, as for ``submit``.
            calibrate: Have the server measure what a step takes, in up to a minute, where no earlier sweep says it.

        Raises:
            DocumentUnreadable: The path is not that of a document.
        """
        return read(DryRun, self.rest.validate(document_of(sweep), calibrate=calibrate))

    def sweep(self, sweep_id: str) -> SweepHandle:
        """Return the sweep with an id."""
        return SweepHandle.of(self.rest, self.rest.sweep(sweep_id))

    def sweeps(
        self,
        state: Sequence[str] = (),
        limit: int | None = None,
        *,
        tag: str | Sequence[str] = (),
        archived: bool | None = False,
    ) -> Rows[ListedSweep]:
        """Return the sweeps, newest first, fetched page by page.

        Args:
            state: The states of the sweeps; all states if empty.
            limit: The largest number of sweeps; None for all of them.
            tag: A tag that they have, or several that they all have; any sweep if empty.
            archived: Whether those that are archived or those that are not; None for both.
        """

        def fetch() -> Iterator[ListedSweep]:
            answers = self.rest.sweeps(state, limit, tag=tag, archived=archived)
            return read_rows(answers, lambda answer: ListedSweep.of(self.rest, answer))

        return Rows(f"sweeps of {self.rest.base_url}", ListedSweep, "id", fetch)

    def trial(self, trial_id: str) -> TrialHandle:
        """Return the trial with an id, such as ``sw0123456789-0007``."""
        return TrialHandle.of(self.rest, self.rest.trial(trial_id))

    def tasks(self) -> list[TaskView]:
        """Return the tasks that networks can be trained on, each with its metrics and its fields as a JSON schema."""
        return [read(TaskView, task) for task in self.rest.tasks()]

    def samplers(self) -> list[SamplerView]:
        """Return the samplers, which choose the trials of a sweep, each with when to use it and its options."""
        return [read(SamplerView, sampler) for sampler in self.rest.samplers()]

    def pruning_rules(self) -> list[PruningRuleView]:
        """Return the rules of early stopping, each with its fields as a JSON schema."""
        return [read(PruningRuleView, rule) for rule in self.rest.pruning_rules()]

    def cluster(self) -> ClusterView:
        """Return the condition of each part of the service, with the nodes of the cluster, and how many trials wait."""
        return read(ClusterView, self.rest.cluster())

    def replay(self, trial: TrialHandle | str, key: str | None = None) -> SweepHandle:
        """Train a trial once more with exactly its settings, as a new sweep of one trial, and return that sweep.

        Args:
            trial: The trial or its id. It has ended and has reports.
            key: An idempotency key, as for ``submit``.
        """
        id = trial if isinstance(trial, str) else trial.id
        return SweepHandle.of(self.rest, self.rest.replay(id, key))

    def __repr__(self) -> str:
        return f"Client({self.rest.base_url!r})"

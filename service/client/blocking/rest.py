# Written by `make blocking-client` from the module of the same name in service/client/asynchronous.
"""The REST API as methods of a client, with documents as they are in JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from service.client import rules
from service.client.blocking.sender import Sender
from service.client.rules import Json


class RestClient(Sender):
    """Calls one service. Sweeps, trials and all other documents are dictionaries as decoded from JSON.

    If the service cannot be reached or answers 503 or 429, a call is repeated until ``patience`` seconds have passed.
    That is safe: a call that arrives twice has the effect of one. If the answer to ``stop`` or ``cancel`` of a trial
    was lost, however, the repetition may find the trial ended and raise ApiError with status 409.

    Every method that calls the service raises ApiError if the service answers with an error status, and
    ServiceUnreachable if no service answers.
    """

    def submit(self, document: Json, key: str | None = None) -> Json:
        """Submit a sweep and return it as stored, without waiting for its trials.

        Args:
            document: The sweep.
            key: An idempotency key: the same document with the same key again returns the existing sweep, and another
                document with the same key raises ApiError with status 409. By default every call makes a new key, which
                is kept while this call is repeated.
        """
        return self._json("POST", "/v1/sweeps", document, rules.idempotent(key))

    def validate(self, document: Json, *, calibrate: bool = False) -> Json:
        """Check a sweep without submitting it, and return its trials, packs and warnings, and how long it will take.

        Args:
            document: The sweep.
            calibrate: Have the server measure what a step takes, in up to a minute, where no earlier sweep says it.
        """
        if not calibrate:
            return self._json("POST", "/v1/sweeps/validate", document)
        return self._json("POST", "/v1/sweeps/validate?calibrate=true", document, timeout=rules.CALIBRATION_SECONDS)

    def sweep(self, sweep_id: str) -> Json:
        """Return a sweep with the number of trials in each state, its progress and its best trial."""
        return self._json("GET", f"/v1/sweeps/{rules.quoted(sweep_id)}")

    def sweeps(
        self,
        state: Sequence[str] = (),
        limit: int | None = None,
        *,
        tag: str | Sequence[str] = (),
        archived: bool | None = False,
    ) -> Iterator[Json]:
        """Yield sweeps, newest first, fetched page by page.

        Args:
            state: The states of the sweeps to yield; all states if empty.
            limit: The largest number of sweeps to yield; None for all of them.
            tag: A tag that they have, or several that they all have; any sweep if empty.
            archived: Whether to yield those that are archived or those that are not; None for both.
        """
        asked: Json = {"state": list(state), "archived": "any" if archived is None else str(archived).lower()}
        asked["tag"] = [tag] if isinstance(tag, str) else list(tag)
        return self._pages("/v1/sweeps", "sweeps", asked, limit)

    def tasks(self) -> list[Json]:
        """Return the tasks that networks can be trained on, with their ``metrics`` and fields as JSON schemas."""
        return self._address.documents(self._send("GET", "/v1/tasks"))

    def samplers(self) -> list[Json]:
        """Return the samplers, which choose the trials of a sweep, each with when to use it and its ``options``."""
        return self._address.documents(self._send("GET", "/v1/samplers"))

    def pruning_rules(self) -> list[Json]:
        """Return the rules of early stopping, each with its fields as a JSON schema."""
        return self._address.documents(self._send("GET", "/v1/early-stopping"))

    def cluster(self) -> Json:
        """Return the condition of each part of the service, with the nodes of the cluster, and how many trials wait."""
        return self._json("GET", "/v1/cluster")

    def best_so_far(self, sweep_ids: Sequence[str]) -> list[Json]:
        """Return for each of up to 200 sweeps how its best objective got better with its trials.

        Args:
            sweep_ids: The sweeps; those that are not there are left out.

        Returns:
            Documents with ``id`` and ``points``: at most 24 pairs of a number of trials and the best of so many.
        """
        found = self._json("GET", "/v1/best-so-far", parameters={"sweeps": list(sweep_ids)})
        return list(rules.field_of(found, "sweeps"))

    def trials(
        self,
        sweep_id: str,
        sort: Literal["number", "objective"] = "number",
        state: Sequence[str] = (),
        limit: int | None = None,
    ) -> Iterator[Json]:
        """Yield the trials of a sweep that have been created, fetched page by page.

        Args:
            sweep_id: The sweep.
            sort: ``number`` for ascending numbers; ``objective`` for the best trial first and those without a result
                last: those that have no objective, have failed or were cancelled.
            state: The states of the trials to yield; all states if empty.
            limit: The largest number of trials to yield; None for all of them.
        """
        return self._pages(
            f"/v1/sweeps/{rules.quoted(sweep_id)}/trials", "trials", {"sort": sort, "state": list(state)}, limit
        )

    def trial(self, trial_id: str) -> Json:
        """Return a trial: its parameters, state, step and best objective."""
        return self._json("GET", f"/v1/trials/{rules.quoted(trial_id)}")

    def metrics(self, trial_id: str, keys: Sequence[str] = (), points: int | None = None) -> list[Json]:
        """Return reports of a trial in order of step, each with ``step``, ``at`` and ``values``.

        Args:
            trial_id: The trial.
            keys: The names of the metrics to return; all if empty. Reports without any of them are left out.
            points: About how many reports to return, spread evenly over all; None for the first 10,000.
        """
        parameters: Json = {"keys": list(keys)} | ({} if points is None else {"points": points})
        found = self._json("GET", f"/v1/trials/{rules.quoted(trial_id)}/metrics", parameters=parameters)
        return list(rules.field_of(found, "points"))

    def weights(self, trial_id: str, which: Literal["best", "last"] = "best") -> bytes:
        """Return the parameters of a trial's best or last checkpoint, as the content of a safetensors file.

        Raises:
            ApiError: With status 404 if there is no such checkpoint, and 410 if it was removed.
        """
        path, parameters = f"/v1/trials/{rules.quoted(trial_id)}/checkpoint", {"which": which, "download": 1}
        response = self._send("GET", path, parameters=parameters)
        return response.content

    def logs(
        self,
        trial_id: str,
        only: Literal["history", "output"] | None = None,
        *,
        after: str | None = None,
        events_after: int = 0,
        limit: int = 1_000,
    ) -> Json:
        """Return a trial's history and the lines that its workers have printed.

        Args:
            trial_id: The trial.
            only: ``history`` for its attempts and events alone, ``output`` for the lines alone; None for both.
            after: The ``id`` of a line, behind which the lines begin; None for the first ones.
            events_after: The number of an event, behind which the events begin; at most 1,000 are returned.
            limit: The largest number of lines, up to 2,000. ``more_lines`` says whether there are further ones.
        """
        parameters: Json = {"events_after": events_after, "limit": limit}
        parameters |= {name: value for name, value in (("only", only), ("after", after)) if value is not None}
        return self._json("GET", f"/v1/trials/{rules.quoted(trial_id)}/logs", parameters=parameters)

    def report(self, sweep_id: str, include: Sequence[str] = (), trial: int | None = None) -> Json:
        """Return a sweep's 20 best trials, its trials' objectives by reflectors and margin, and further parts.

        Args:
            sweep_id: The sweep.
            include: The further parts: ``importance``, ``learning_curves``, ``best_so_far``, ``parallel_coordinates``,
                ``pareto``, ``diagnostics``. The others are None.
            trial: The number of the trial whose ``diagnostics`` are returned; None for the best one.
        """
        parameters: Json = {"include": list(include)} | ({} if trial is None else {"trial": trial})
        return self._json("GET", f"/v1/sweeps/{rules.quoted(sweep_id)}/report", parameters=parameters)

    def report_file(self, sweep_id: str, name: str, trial: int | None = None) -> bytes:
        """Return a file of a sweep's report.

        Args:
            sweep_id: The sweep.
            name: ``report.html``, ``trials.csv``, ``optuna.db``, or a figure, such as ``figures/importance.svg``.
            trial: The number of the trial that ``figures/spectrum`` or ``figures/gradients`` shows; None for the best.
        """
        path = "/".join(rules.quoted(part) for part in name.split("/"))
        parameters = None if trial is None else {"trial": trial}
        response = self._send("GET", f"/v1/sweeps/{rules.quoted(sweep_id)}/{path}", parameters=parameters)
        return response.content

    def points(self, sweep_id: str, limit: int | None = None) -> Iterator[Json]:
        """Yield the points of a sweep, the best first: its settings, each with the spread of its repeats.

        Args:
            sweep_id: The sweep.
            limit: The largest number of points to yield; None for all of them.
        """
        return self._pages(f"/v1/sweeps/{rules.quoted(sweep_id)}/points", "points", {}, limit)

    def compare(self, sweep_id: str, points: Sequence[int]) -> Json:
        """Compare points of a sweep with each other, by their trials of equal seeds.

        Args:
            sweep_id: The sweep.
            points: The numbers of 2 to 20 points.

        Returns:
            The ``points``, and ``comparisons`` of each of them with each of those after it, with a ``verdict``: the
            first is ``better``, ``worse`` or ``not told apart``.
        """
        wanted = ",".join(map(str, points))
        return self._json("GET", f"/v1/sweeps/{rules.quoted(sweep_id)}/compare", parameters={"points": wanted})

    def pause(self, sweep_id: str) -> Json:
        """Pause a sweep, and return it: running trials write a checkpoint and wait for ``resume``."""
        return self._json("POST", f"/v1/sweeps/{rules.quoted(sweep_id)}/pause")

    def resume(self, sweep_id: str) -> Json:
        """Continue a paused sweep, and return it: its trials go on from their checkpoints."""
        return self._json("POST", f"/v1/sweeps/{rules.quoted(sweep_id)}/resume")

    def change(self, sweep_id: str, **fields: int | bool | list[str] | None) -> Json:
        """Change a sweep, and return it. What is left out stays as it is.

        Args:
            sweep_id: The sweep.
            fields: ``tags``: words by which it is found again, in place of those that it has, or ``add_tags`` and
                ``remove_tags``; ``archived``: whether lists leave it out, of a sweep that has ended; and of one that
                has not, ``priority``: sweeps of a higher one are trained first, and take the place of others;
                ``max_parallel``: how many of its trials run at the same time, None for as many as fit.

        Raises:
            ApiError: With status 409 if the sweep's state does not permit the change.
        """
        return self._json("PATCH", f"/v1/sweeps/{rules.quoted(sweep_id)}", fields)

    def stop(self, id: str) -> Json:
        """Let a sweep's running trials finish and start no others, or end one trial, which keeps its checkpoints.

        Args:
            id: The id of a sweep or of a trial.

        Returns:
            The sweep or the trial, which may not have ended yet.
        """
        return self._json("POST", f"{rules.subject(id)}/stop")

    def cancel(self, id: str) -> Json:
        """End a sweep with all of its trials, or one trial, without a new checkpoint.

        Args:
            id: The id of a sweep or of a trial.

        Returns:
            The sweep or the trial, which may not have ended yet.
        """
        return self._json("POST", f"{rules.subject(id)}/cancel")

    def rerun(self, id: str, key: str | None = None) -> Json:
        """Run the failed trials of a sweep again, or one failed trial; a sweep that has ended is running again.

        Args:
            id: The id of a sweep or of a trial.
            key: An idempotency key, as for ``submit``.

        Returns:
            The sweep or the trial.

        Raises:
            ApiError: With status 409 if nothing has failed, or if the sweep's state does not permit it.
        """
        return self._json("POST", f"{rules.subject(id)}/rerun", headers=rules.idempotent(key))

    def extend(
        self,
        id: str,
        trials: int | None = None,
        space: Mapping[str, Sequence[Any]] | None = None,
        key: str | None = None,
        *,
        steps: int | None = None,
    ) -> Json:
        """Give a sweep further trials, or a trial that has succeeded more steps; a sweep that has ended runs again.

        The trials that exist keep their numbers, points and results. A trial with more steps keeps its reports.

        Args:
            id: The id of a sweep, or with ``steps`` of a trial.
            trials: How many trials to add, for a sampler that takes a number of them.
            space: New values by the path of the dimension that gets them, for a grid.
            key: An idempotency key, as for ``submit``.
            steps: How many steps the trial is to have, with those that it has done.

        Returns:
            The sweep or the trial.
        """
        added: Json = {} if trials is None else {"trials": trials}
        added |= {} if space is None else {"space": {path: list(values) for path, values in space.items()}}
        added |= {} if steps is None else {"steps": steps}
        headers = rules.idempotent(key)
        return self._json("POST", f"{rules.subject(id)}/extend", added, headers)

    def replay(self, trial_id: str, key: str | None = None) -> Json:
        """Train a trial once more with exactly its settings, as a new sweep of one trial, and return that sweep.

        Args:
            trial_id: The trial, which has ended and has reports.
            key: An idempotency key, as for ``submit``.
        """
        headers = rules.idempotent(key)
        return self._json("POST", f"/v1/trials/{rules.quoted(trial_id)}/replay", headers=headers)

    def compare_trials(self, trial_id: str, other: str | None = None) -> Json:
        """Compare the reports of two trials step by step.

        Args:
            trial_id: A trial.
            other: Another one; None for the one that it is a replay of.

        Returns:
            Their ``likeness``: ``equal``, ``equal to rounding``, ``different`` or ``nothing in common``; the
            ``metrics``, each with its largest relative difference and the first step that differs; and
            ``explanations``.
        """
        given: Json = {} if other is None else {"other": other}
        return self._json("GET", f"/v1/trials/{rules.quoted(trial_id)}/compare", parameters=given)

    def delete(self, sweep_id: str) -> None:
        """Delete a sweep that has ended, with its trials, its checkpoints and its runs in MLflow.

        Raises:
            ApiError: With status 409 if the sweep has not ended, and 404 if there is no such sweep.
        """
        self._send("DELETE", f"/v1/sweeps/{rules.quoted(sweep_id)}")

    def wait(self, sweep_id: str) -> Json:
        """Wait, without a time limit, until a sweep has ended, and return it."""
        for _ in self.events(sweep_id):
            pass
        return self.sweep(sweep_id)

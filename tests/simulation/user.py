"""The user of a simulated world, who submits, changes and steers sweeps, and what was acknowledged of that."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from service.states import SWEEP_ENDED, IllegalMove
from service.store import longer_trials, reopening, sweeps, trials
from service.store.sweep_summary import facts_of
from tests.simulation.schedule import longer_spec, row_of, spec_of

if TYPE_CHECKING:
    from tests.simulation.world import World

MORE_STEPS = 4
"""How many further steps the user gives a trial at a time."""


class User:
    """Whoever uses the service.

    Args:
        world: The world, whose database is written to and whose schedule has the sweeps.

    Attributes:
        waiting: The positions of the documents that are still to be submitted.
        sweep_ids: The acknowledged sweeps in order, each with the position of its document.
        verbs: The acknowledged verbs: the subject and the verb; ``reopened`` where a sweep that had ended goes on.
        reruns: How often each trial was run again.
        added: By how many trials each sweep was extended.
        longer: How often each trial was given ``MORE_STEPS``.
        changed: Whether the priority or the parallel trials of a sweep were changed.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.waiting = list(world.schedule.sweeps)
        self.sweep_ids: dict[str, int] = {}
        self.verbs: list[tuple[str, str]] = []
        self.reruns: Counter[str] = Counter()
        self.added: Counter[str] = Counter()
        self.longer: Counter[str] = Counter()
        self.changed = False

    def submit(self) -> None:
        """Submit the next sweep of the schedule, if there is one left."""
        if not self.waiting:
            return
        position, self._world.written = self.waiting.pop(0), True
        document, count, _ = row_of(position)
        with self._world.database.write() as session:
            sweep = sweeps.create(session, "simulated", document, count)
        if not self.sweep_ids:
            steps = spec_of(position).training.steps
            first, last = f"{sweep.id}-0000", f"{sweep.id}-{count - 1:04d}"
            self._world.poison = {last: steps // 4} if self._world.schedule.poison else {}
            self._world.failing = {first: steps // 2} if self._world.schedule.failing else {}
        self.sweep_ids[sweep.id] = position
        self._world.note(f"submitted {sweep.id}: {count} trials")

    def verb(self, subject: str, verb: Any) -> None:
        """Apply a verb to a sweep or a trial; it is acknowledged unless the state forbids it."""
        try:
            with self._world.database.write() as session:
                if "-" in subject:
                    trials.want(session, subject, verb)
                else:
                    sweeps.apply(session, subject, verb)
        except IllegalMove:
            return
        self.verbs.append((subject, verb))
        self._world.note(f"acknowledged {verb} of {subject}")

    def change(self, sweep_id: str, changes: dict[str, int | None]) -> None:
        """Change a sweep; it is acknowledged unless the state forbids it."""
        try:
            with self._world.database.write() as session:
                sweeps.change(session, sweep_id, changes)
        except IllegalMove:
            return
        self.changed = True
        self._world.note(f"acknowledged {changes} of {sweep_id}")

    def go_on(self, sweep_id: str) -> bool:
        """Rerun a sweep's failed trials; if none has failed, extend it by a point, or a trial by steps.

        Returns:
            Whether the sweep was acknowledged to go on.
        """
        spec = spec_of(self.sweep_ids[sweep_id])
        longer: list[str] = []
        try:
            with self._world.database.write() as session:
                sweep = sweeps.get_locked(session, sweep_id)
                ended = sweep.state in SWEEP_ENDED
                failed = [trial.id for trial in trials.page(session, sweep_id, ["failed"])]
                succeeded = trials.page(session, sweep_id, ["succeeded"])
                if failed:
                    reopening.rerun(session, sweep_id)
                elif succeeded and (self._world.schedule.seed + len(self.verbs)) % 2:
                    steps = spec.training.steps + succeeded[0].added_steps + MORE_STEPS
                    chosen = longer_trials.going_on(session, spec, succeeded[0], steps)
                    reopening.train_longer(session, sweep, chosen, steps)
                    longer = [trial.id for trial in chosen]
                else:
                    count = reopening.trials_to_be(session, sweep) + spec.repeats
                    larger = longer_spec(self.sweep_ids[sweep_id], count)
                    reopening.extend(session, sweep, larger.model_dump(mode="json"), count, facts_of(larger), 0)
        except IllegalMove:
            return False
        self.verbs += [(sweep_id, "reopened")] if ended else []
        self.reruns.update([*failed, *longer])
        self.longer.update(longer)
        self.added[sweep_id] += 0 if failed or longer else spec.repeats
        what = "a rerun" if failed else f"more steps for {', '.join(longer)} of" if longer else "a longer"
        self._world.note(f"acknowledged {what} {sweep_id}, which had {'' if ended else 'not '}ended")
        return True

"""The advancing step of a tick: create a sweep's trials, prune, instruct the runners, and end the sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from service.controller import commands, pruning, sweep_lifecycle
from service.controller.commands import Instruction
from service.controller.context import ReconcileContext
from service.controller.runners import find_runner_name
from service.states import TrialState
from service.store import attempts, open_trials, packs, reports, sweeps, trials
from service.store.tables import Pack
from workers.protocol import Command
from workers.spec.expand import objective
from workers.spec.sweep import SweepSpec


@dataclass(frozen=True)
class _PackInstructions:
    """The instructions for the trials of one pack.

    Attributes:
        pack: The pack.
        runner_name: The name of the pack's runner in Ray.
        instructions: The instruction for each trial that has one, by the trial's id.
        complete: Whether every trial of the pack that has not ended has an instruction.
    """

    pack: Pack
    runner_name: str
    instructions: Mapping[str, Instruction]
    complete: bool


class SweepAdvancer:
    """Creates the trials of one sweep at a time, prunes, sends instructions to its runners, and ends the sweep.

    It keeps, for each sweep, the trials that the pruning rule has chosen, until they have ended.
    """

    def __init__(self, context: ReconcileContext) -> None:
        self._context = context
        self._to_prune: dict[str, dict[int, str]] = {}

    def forget(self, sweep_id: str) -> None:
        """Drop what is kept of a sweep that has ended."""
        self._to_prune.pop(sweep_id, None)

    def advance(self, sweep_id: str) -> bool:
        """Do for one sweep all that needs no new pack.

        In this order: create the trials that its sampler is ready to propose, apply its pruning rule, send
        instructions to the runners of its open packs, cancel the waiting trials that must not run, and end the sweep
        if all of its trials have ended.

        Returns:
            Whether the sweep has to be advanced in the next tick too: a trial has yet to obey an instruction, which is
            repeated, or its runner ended, when it is time for it; or there are more trials to create.
        """
        context = self._context
        with context.read() as session:
            spec, sweep = context.spec(session, sweep_id), sweeps.get(session, sweep_id)
            complete = trials.count(session, sweep_id) >= sweep.trial_count
        unexpanded = False
        if sweep.state == "queued" or (sweep.state == "running" and not complete):
            with context.write() as session:
                unexpanded = sweep_lifecycle.expand(session, sweep_id, spec)
        self._update_pruning(sweep_id, spec)
        instructed = self._instruct_runners(sweep_id)
        with context.read() as session:
            needs_settling = sweep_lifecycle.needs_settling(session, sweeps.get(session, sweep_id))
        if needs_settling:
            with context.write() as session:
                sweep_lifecycle.settle(session, sweep_id)
            context.ended = True
        return instructed or unexpanded

    def _update_pruning(self, sweep_id: str, spec: SweepSpec) -> None:
        """Choose the running trials to prune, and keep the choice for ``_instruct_runners``.

        Nothing is done for a sweep without a pruning rule, or if no metrics came since this term last chose.
        """
        if spec.early_stopping.kind == "none":
            return
        if sweep_id in self._to_prune and sweep_id not in self._context.new_metrics:
            return
        self._context.new_metrics.discard(sweep_id)
        with self._context.read() as session:
            running = _target_steps(session, sweep_id, spec, "running")
            succeeded = _target_steps(session, sweep_id, spec, "succeeded")
            goal = objective(spec)
            curves = reports.curves_of_sweep(session, sweep_id, goal.metric) if running else {}
            ended = open_trials.reasons_by_state(session, sweep_id) if spec.repeats > 1 else {}
        # a decision holds until the trial has ended, also if a later report would change it; it holds for all repeats
        decided = {t: reason for t, reason in self._to_prune.get(sweep_id, {}).items() if t in running}
        decided |= {t: reason for t, reason in ended.get("pruned", {}).items() if reason != commands.STOPPED}
        self._to_prune[sweep_id] = pruning.to_prune_points(
            spec.early_stopping,
            goal,
            pruning.extend_to_target(curves, succeeded),
            running,
            spec.repeats,
            spec.objective.statistic,
            left_out=ended.get("failed", {}).keys() | ended.get("cancelled", {}).keys(),
            final=succeeded.keys(),
            decided=decided,
        )

    def _instruct_runners(self, sweep_id: str) -> bool:
        """Carry out what is due for the open packs of a sweep; return whether a trial of them has an instruction."""
        with self._context.read() as session:
            found = [self._instructions(session, pack) for pack in packs.open_packs(session, sweep_id)]
        instructed = [wanted for wanted in found if wanted.instructions]
        for wanted in instructed:
            self._carry_out(wanted)
        return bool(instructed)

    def _instructions(self, session: Session, pack: Pack) -> _PackInstructions:
        sweep, to_prune = sweeps.get(session, pack.sweep_id), self._to_prune.get(pack.sweep_id, {})
        running = [trials.get(session, trial_id) for trial_id in attempts.open_of_pack(session, pack.id)]
        by_trial = {trial.id: commands.instruction(sweep, trial, to_prune, pack.preempted) for trial in running}
        given = {trial_id: found for trial_id, found in by_trial.items() if found is not None}
        return _PackInstructions(pack, find_runner_name(session, pack), given, len(given) == len(running))

    def _carry_out(self, wanted: _PackInstructions) -> None:
        """Send a pack's due instructions to its runner, or end the runner.

        The runner's process is ended, and its pack marked as lost, if all of its trials have an instruction and either
        it has never answered a poll and no trial is to be pruned, or it has not obeyed a cancel for ``GRACE_SECONDS``.
        Without a connection to Ray it is left for a later tick. A pack that is only planned gets no command.
        """
        context, pack, instructions = self._context, wanted.pack, wanted.instructions
        to_send = context.command_log.take_due(pack, instructions)
        never_ran = pack.seen_at is None and all(given.verb != "prune" for given in instructions.values())
        if wanted.complete and (never_ran or context.command_log.cancel_overdue(pack, instructions)):
            if context.cluster.connected:
                context.runners.end(pack.id, wanted.runner_name)
                context.mark_lost(pack, "cluster", next(iter(instructions.values())).reason)
            return
        if not to_send or pack.state != "started":
            return
        # the numbers are stored before the commands go out, so that a successor never uses one again
        with context.write() as session:
            first = packs.reserve_command_numbers(session, pack.id, len(to_send))
        for seq, (given, trial_ids) in enumerate(to_send.items(), first):
            command = Command(seq=seq, verb=given.verb, trial_ids=trial_ids, reason=given.reason)
            context.runners.command(pack, command)


def _target_steps(session: Session, sweep_id: str, spec: SweepSpec, state: TrialState) -> dict[int, int]:
    """Return ``training.steps`` of each trial of the sweep that is in ``state``, by the trial's number."""
    found = open_trials.in_state(session, sweep_id, state)
    return {trial.number: int(trial.params.get("training.steps", spec.training.steps)) for trial in found}

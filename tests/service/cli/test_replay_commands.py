"""``spectral extend --steps``, ``replay`` and ``diff``."""

from __future__ import annotations

import json

from service.controller import sweep_lifecycle
from service.store import checkpoints, reports, sweeps, trials
from service.store.database import Database
from service.store.tables import Sweep, Trial, TrialCheckpoint
from tests.service.api.test_after_end import expand
from tests.service.cli.command_line import spectral

LOSSES = {20: 0.5, 40: 0.25}


def told(database: Database, trial_id: str, losses: dict[int, float]) -> None:
    """Let a trial succeed with these losses, and its sweep end."""
    with database.write() as session:
        trial = trials.get(session, trial_id)
        trials.move(session, trial, "running")
        reports.add(session, trial_id, [(step, {"val/loss": loss}) for step, loss in losses.items()], 1.0)
        trial.step, trial.objective, trial.best_step = 100, min(losses.values()), max(losses)
        checkpoints.add(session, TrialCheckpoint(trial_id=trial_id, step=100, path=f"/{trial_id}", best=True))
        trials.move(session, trial, "succeeded")
        for other in trials.page(session, trial.sweep_id, ["waiting"]):
            trials.move(session, other, "cancelled")
        sweep_lifecycle.settle(session, trial.sweep_id)


def test_a_trial_gets_more_steps(base_url: str, database: Database, running: tuple[Sweep, list[Trial]]) -> None:
    sweep, (trial, *_) = running
    told(database, trial.id, LOSSES)
    assert "or --steps for a trial" in spectral("extend", trial.id, url=base_url).stderr
    assert "or --steps" in spectral("extend", trial.id, "--steps", "200", "--trials", "2", url=base_url).stderr
    assert "this command takes a trial" in spectral("extend", sweep.id, "--steps", "200", url=base_url).stderr
    grown = spectral("extend", f"{sweep.id[:6]}-0", "--steps", "250", url=base_url)
    assert (grown.stdout, grown.stderr) == (f"{trial.id} is waiting: it goes on from step 100 to 250\n", "")
    assert "a trial that is waiting" in spectral("extend", trial.id, "--steps", "300", url=base_url).stderr


def test_a_replay_is_compared_with_its_original(
    base_url: str, database: Database, running: tuple[Sweep, list[Trial]]
) -> None:
    _, (trial, *_) = running
    told(database, trial.id, LOSSES)
    made = spectral("replay", trial.id, url=base_url)
    assert made.returncode == 0
    with database.read() as session:
        replay = next(row.id for row in sweeps.page(session) if row.name == f"replay of {trial.id}")
    assert made.stdout == (
        f"{replay}  replay of {trial.id}, queued\n"
        f"Once it has ended, compare the two with: spectral diff {replay}-0000\n"
    )
    expand(database, replay)
    none = spectral("diff", f"{replay}-0", url=base_url)
    assert (none.returncode, "nothing in common" in none.stdout) == (1, True)
    told(database, f"{replay}-0000", {20: 0.5, 40: 0.2500001})
    same = spectral("diff", f"{replay}-0", url=base_url)
    assert same.returncode == 0
    lines = same.stdout.splitlines()
    assert lines[:2] == [f"{trial.id} and {replay}-0000: equal to rounding", "steps compared: 2"]
    assert lines[3].split() == ["val/loss", "4e-07", "40", "40"]
    assert "may be explained by: what is not recorded" in same.stdout
    told_in_full = json.loads(spectral("diff", trial.id, f"{replay}-0000", "--json", url=base_url).stdout)
    assert (told_in_full["first"], told_in_full["likeness"]) == (trial.id, "equal to rounding")
    assert "is no replay" in spectral("diff", trial.id, url=base_url).stderr

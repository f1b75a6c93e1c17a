"""Sweeps and trials in a few words, and in a few lines of HTML for notebooks."""

from __future__ import annotations

from html import escape
from typing import Any

from service.schemas import SweepSummary, TrialView


def of_sweep(sweep: SweepSummary) -> str:
    """Return a sweep's state, progress and best value in one line."""
    counts, steps = sweep.counts, sweep.progress
    words = [sweep.state, f"{ended_trials(sweep)}/{counts.total} trials", f"{steps.done}/{steps.total} steps"]
    if counts.failed:
        words.append(f"{counts.failed} failed")
    if sweep.best_objective is not None:
        words.append(f"best {sweep.objective.metric} {sweep.best_objective:.6g}")
    left = time_left(sweep)
    return ", ".join([*words, *([f"{left} left"] if left else [])])


def ended_trials(sweep: SweepSummary) -> int:
    """Return how many trials of a sweep have ended."""
    return sweep.counts.total - sweep.counts.waiting - sweep.counts.running


def of_trial(trial: TrialView) -> str:
    """Return a trial's state, step, objective and parameters in one line."""
    words = [trial.state, f"step {trial.step}"]
    if trial.objective is not None:
        words.append(f"objective {trial.objective:.6g}")
    return ", ".join([*words, *(f"{path}={_value(value)}" for path, value in trial.params.items())])


def time_left(sweep: SweepSummary) -> str:
    """Return in words how long a sweep will still take, as the service estimates it; empty if that is not known."""
    if sweep.seconds_left is None:
        return ""
    seconds = round(sweep.seconds_left)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds % 60:02d} s" if minutes else f"{seconds} s"


def html_of_sweep(sweep: SweepSummary) -> str:
    """Return a sweep as HTML: its name, a bar of its progress, and its state, trials and best value."""
    head, why = f"<b>{escape(sweep.name)}</b> {escape(sweep.id)}", f"<br>{escape(sweep.reason)}" if sweep.reason else ""
    return f"<div>{head}<br>{_bar(sweep, 20)}<br>{escape(of_sweep(sweep))}{why}</div>"


def html_of_progress(sweep: SweepSummary) -> str:
    """Return a line of HTML with a bar of a sweep's progress, and its state, trials and best value."""
    return f"<div>{escape(sweep.id)} {_bar(sweep, 10)} {escape(of_sweep(sweep))}</div>"


def html_of_trial(trial: TrialView) -> str:
    """Return a trial as HTML: its state and objective, and a table of its parameters."""
    rows = "".join(
        f"<tr><td>{escape(path)}</td><td>{escape(_value(value))}</td></tr>" for path, value in trial.params.items()
    )
    objective = "" if trial.objective is None else f", objective {trial.objective:.6g} at step {trial.best_step}"
    why = f"<br>{escape(trial.reason)}" if trial.reason else ""
    head = f"<b>{escape(trial.id)}</b> {escape(trial.state)}, step {trial.step}{objective}{why}"
    return f"<div>{head}<table>{rows}</table></div>"


def _bar(sweep: SweepSummary, width: int) -> str:
    """Return a bar of a sweep's progress as HTML, ``width`` em wide."""
    steps = sweep.progress
    return f'<progress value="{steps.done}" max="{max(1, steps.total)}" style="width: {width}em"></progress>'


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)

"""Show the progress of a sweep that is waited for: a bar in terminals and notebooks, and lines where there is none."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from service.client import summaries
from service.schemas import SweepSummary

LINE_SECONDS = 10.0
"""A line is printed so often at most, and whenever the state changes or a trial ends."""


class ProgressDisplay(AbstractContextManager["ProgressDisplay"]):
    """Shows the progress of one sweep between its ``update``s; at the end of its block the last one stays.

    Args:
        shown: Whether to show anything at all.
        console: Where to show it; standard error by default. A terminal gets a bar, a notebook one below its cell,
            which is saved with it, and everything else gets lines.
    """

    def __init__(self, shown: bool = True, console: Console | None = None) -> None:
        self._shown = shown
        self._console = console or Console(file=sys.stderr, highlight=False)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        has_bars = shown and self._console.is_terminal and not self._console.is_jupyter
        self._bars = Progress(*columns, console=self._console) if has_bars else None
        self._bar = self._bars.add_task("", total=None, left="", visible=False) if self._bars else None
        self._output: Any = None
        self._printed: tuple[str, int] | None = None
        self._printed_at = 0.0

    def __enter__(self) -> Self:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._bars:
            self._bars.stop()

    def update(self, sweep: SweepSummary) -> None:
        """Show how far a sweep has come."""
        if not self._shown:
            return
        steps, ended = sweep.progress, summaries.ended_trials(sweep)
        if self._console.is_jupyter:
            self._show_in_notebook(summaries.html_of_progress(sweep))
        elif self._bars is not None and self._bar is not None:
            best = "" if sweep.best_objective is None else f", best {sweep.best_objective:.6g}"
            text = f"{sweep.id} {sweep.state}, {ended}/{sweep.counts.total} trials{best}"
            left = summaries.time_left(sweep)
            left = f"{left} left" if left else ""
            total = max(1, steps.total)
            self._bars.update(
                self._bar, description=text, completed=steps.done, total=total, left=left, visible=True, refresh=True
            )
        elif (sweep.state, ended) != self._printed or time.monotonic() - self._printed_at > LINE_SECONDS:
            self._printed, self._printed_at = (sweep.state, ended), time.monotonic()
            line = f"{time.strftime('%H:%M:%S')}  {sweep.id}  {summaries.of_sweep(sweep)}"
            self._console.print(line, soft_wrap=True, markup=False)
            self._console.file.flush()

    def _show_in_notebook(self, html: str) -> None:
        """Show HTML below the cell, in place of what was shown before."""
        from IPython.display import HTML, display  # every notebook has it

        if self._output is None:
            self._output = display(HTML(html), display_id=True)
        else:
            self._output.update(HTML(html))

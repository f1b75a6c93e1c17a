"""When a runner's answer is written to the database."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from service.controller import polling
from service.controller.polling import LINES_SECONDS, SEEN_SECONDS, RunnerPoller
from service.store.tables import Pack
from workers.protocol import Measured, OutputLine, Poll


def test_lines_wait_a_moment_and_reports_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Any = None
    poller, pack = RunnerPoller(nothing, nothing, nothing, nothing), Pack(id="p", last_seq=3)
    poller._stored_at = {"p": 100.0}

    def after(seconds: float, *, line: int = 3, report: int = 3) -> bool:
        monkeypatch.setattr(polling, "time", SimpleNamespace(monotonic=lambda: 100.0 + seconds))
        told = OutputLine(seq=line, at=0.0, stream="stdout", text="x")
        measured = Measured(seq=report, trial_id="t", step=1, values={})
        poll = Poll(state="running", reports=[measured], progress={}, lines=[told])
        return poller._is_worth_storing(poll, pack)

    moment = LINES_SECONDS / 2
    assert [after(moment), after(moment, line=4), after(moment, report=4)] == [False, False, True]
    assert [after(LINES_SECONDS + moment), after(LINES_SECONDS + moment, line=4)] == [False, True]
    assert after(SEEN_SECONDS + moment)

"""Priorities: what writes to MLflow gives way, and what it starts does too."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from service.background_work import MOST, NICENESS, lower_this_thread


def niceness(process: int = 0) -> int:
    return os.getpriority(os.PRIO_PROCESS, process)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux alone")
def test_a_thread_and_what_it_starts_give_way_and_others_do_not() -> None:
    found: list[int] = []

    def work() -> None:
        lower_this_thread()
        found.append(niceness(threading.get_native_id()))
        inner = threading.Thread(target=lambda: found.append(niceness(threading.get_native_id())))
        inner.start()
        inner.join()

    before = niceness()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [min(MOST, before + NICENESS)] * 2
    assert niceness() == before


def test_a_system_that_forbids_it_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", forbid)
    lower_this_thread()

"""The clock that stands still while a thread waits for a processor."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workers.training import running_clock
from workers.training.running_clock import running_seconds

WORK = """
import time
from workers.training.running_clock import running_seconds
print(flush=True)
input()
wall, running, used = time.perf_counter(), running_seconds(), time.thread_time()
while time.thread_time() - used < 0.5:
    sum(range(1000))
print(time.perf_counter() - wall, running_seconds() - running)
"""


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="the system does not tell waits")
def test_waits_for_a_processor_do_not_count() -> None:
    def on_one_processor() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    both = [
        subprocess.Popen(
            [sys.executable, "-c", WORK],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=on_one_processor,
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout is not None
        process.stdout.readline()  # it is ready
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in both:
        wall, running = map(float, process.communicate()[0].split())
        # each has half of the processor at most, while both of them work
        assert 0.45 < running < 0.8 * wall


def test_other_waits_count() -> None:
    before = running_seconds()
    time.sleep(0.05)
    assert running_seconds() - before > 0.04


def test_all_time_counts_where_the_system_does_not_tell_waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for text in (None, "", "7", "some thing 1"):
        file = tmp_path / "schedstat"
        file.unlink(missing_ok=True)
        if text is not None:
            file.write_text(text)
        monkeypatch.setattr(running_clock, "_SCHEDULED", file)
        monkeypatch.setattr(time, "perf_counter", lambda: 12.5)
        assert running_seconds() == 12.5

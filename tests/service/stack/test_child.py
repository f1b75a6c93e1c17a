"""One supervised process: started again after growing pauses, its log kept short, ended with all that it started."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from service.stack import guard
from service.stack.child import LONGEST_PAUSE, Child
from service.stack.log_file import append_to, keep_short, last_lines
from service.stack.processes import ManagedProcess

SLEEPS = "import time; time.sleep(600)"


def process(code: str) -> ManagedProcess:
    return ManagedProcess("part", [sys.executable, "-c", code], dict(os.environ))


def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    said: list[str] = []
    child = Child(process(SLEEPS), tmp_path / "part.log", said.append)
    child.look_after()
    before = child.pid
    assert before is not None
    os.kill(before, 9)
    os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)
    child.look_after()
    while child.pid is None:
        child.look_after()
    assert child.pid != before
    assert said == [f"part was ended by SIGKILL; restarting it in 0.5 s (its log: {tmp_path / 'part.log'})"]
    child.terminate()
    child.finish(0.0)
    assert child.pid is None


def test_a_child_leads_a_group_in_this_session(tmp_path: Path) -> None:
    child = Child(process(SLEEPS), tmp_path / "part.log", print)
    child.start()
    try:
        assert child.pid is not None
        assert (os.getpgid(child.pid), os.getsid(child.pid)) == (child.pid, os.getsid(0))
    finally:
        child.finish(0.0)


IN_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
"""Runs a command in a terminal of its own, and ends as it does."""
OPENS_TERMINAL = """
import os, sys
from pathlib import Path
from service.stack.child import Child
from service.stack.processes import ManagedProcess
open("/dev/tty").close()  # there is one
child = Child(ManagedProcess("part", [sys.executable, "-c", "open('/dev/tty')"], {}), Path(sys.argv[1]), print)
child.start()
os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
try:
    Child(ManagedProcess("part", [sys.argv[1] + ".missing"], {}), Path(sys.argv[1]), print).start()
except FileNotFoundError:
    sys.exit(7)
"""
"""Starts a child that opens the terminal, and then one whose program is missing; ends with 7 if that is said."""


def test_a_child_has_no_terminal_to_ask_for_a_password(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    command = [sys.executable, "-c", IN_A_TERMINAL, sys.executable, "-c", OPENS_TERMINAL, str(log)]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, timeout=60).returncode == 7
    assert "No such device or address: '/dev/tty'" in log.read_text()


def test_the_guard_ends_what_a_killed_supervisor_leaves(tmp_path: Path) -> None:
    marked = dict(os.environ) | {guard.MARK: str(tmp_path)}
    nested = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    with subprocess.Popen([sys.executable, "-c", nested], env=marked, start_new_session=True) as left:
        watcher = subprocess.Popen([sys.executable, guard.__file__, str(tmp_path)], stdin=subprocess.PIPE)
        assert watcher.stdin is not None
        watcher.stdin.close()  # as the kernel does when the supervisor is gone
        assert watcher.wait(30) == 0
        assert left.wait(30) != 0
    assert guard.members(str(tmp_path)) == []


def test_pauses_grow_to_the_longest_also_where_no_process_can_be_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    clock = 0.0
    monkeypatch.setattr("service.stack.child.time.monotonic", lambda: clock)
    child = Child(ManagedProcess("part", [str(tmp_path / "missing")], {}), tmp_path / "part.log", said.append)
    starts: list[float] = []
    while len(starts) < 10:
        child.look_after()
        if len(said) > len(starts):
            starts.append(clock)
        clock += 0.25
    pauses = [after - before for before, after in pairwise(starts)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, *[LONGEST_PAUSE] * 3]
    assert all("could not be started" in line for line in said)


def test_a_child_and_its_log_are_closed_to_others(tmp_path: Path) -> None:
    child = Child(process("import os; os.mkdir('made'); print(1)"), tmp_path / "part.log", print)
    child.start()
    assert child.pid is not None
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    child.finish(0.0)
    for path in (tmp_path / "made", child.log):
        assert path.stat().st_mode & 0o077 == 0


def test_a_log_is_kept_short_while_its_process_writes(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    with append_to(log) as file:
        file.write(b"old\n" * 100)
        file.flush()
        keep_short(log, 400)
        assert log.stat().st_size == 400
        keep_short(log, 399)
        file.write(b"new\n")
    assert log.read_bytes() == b"new\n"
    assert (tmp_path / "part.log.1").read_bytes() == b"old\n" * 100
    assert (tmp_path / "part.log.1").stat().st_mode & 0o077 == 0
    assert last_lines(log, 3) == ["new"]
    assert last_lines(tmp_path / "none", 3) == []


def test_what_is_started_while_the_others_end_is_ended_too(tmp_path: Path) -> None:
    """The process answers SIGTERM by starting another one, in a session of its own, and ends."""
    code = f"""
import signal, subprocess, sys
def again(*_):
    subprocess.Popen([sys.executable, "-c", {SLEEPS!r}], start_new_session=True)
    sys.exit()
signal.signal(signal.SIGTERM, again)
print("ready", flush=True)
signal.pause()
"""
    environment = dict(os.environ) | {guard.MARK: str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        first.stdout.readline()
        assert guard.end_all(str(tmp_path)) == 2
        assert guard.members(str(tmp_path)) == []

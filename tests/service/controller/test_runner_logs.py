"""The last words of a process are those of the last process with its id, bounded and without folders."""

from __future__ import annotations

import os
from pathlib import Path

from service.controller.runner_logs import last_words
from workers.runtime.failure_log import MAX_CHARACTERS, MAX_LINES


def test_the_last_lines_of_the_newest_file_of_a_process(tmp_path: Path) -> None:
    old, new = tmp_path / "worker-aa-01-77.err", tmp_path / "worker-bb-02-77.err"
    old.write_text("another process\n")
    os.utime(old, (1, 1))
    new.write_text(
        "\n".join([*(f"line {i}" for i in range(10_000)), "SIGSEGV in /opt/x/lib.so", "at postgres://u:p@h/d"])
    )
    (tmp_path / "worker-cc-02-771.err").write_text("a third one\n")
    found = last_words(tmp_path, 77)
    assert len(found.splitlines()) == MAX_LINES
    assert len(found) <= MAX_CHARACTERS
    assert found.endswith("SIGSEGV in .../lib.so\nat postgres://h/d")


def test_nothing_is_known_of_a_process_of_another_machine(tmp_path: Path) -> None:
    assert last_words(tmp_path, 5) == ""
    assert last_words(tmp_path / "gone", 5) == ""

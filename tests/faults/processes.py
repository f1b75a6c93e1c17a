"""The processes of a stack by the part that they play, found anew each time: any of them may have been replaced."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import psutil

from service.stack import guard
from service.stack.home import Home

Part = Literal["api", "controller", "mlflow", "ray", "gcs", "raylet", "runner"]
PARTS: tuple[Part, ...] = ("api", "controller", "mlflow", "ray", "gcs", "raylet", "runner")


def of_stack(home: Home) -> list[psutil.Process]:
    """Return the living processes of the stack in a home, and the runners that a dead Ray may have left behind.

    A runner overwrites its environment, by which the others are known, with its title. It is known by its log.
    """
    found = {process.pid: process for process in guard.members(str(home.path))}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid not in found and _is_runner(process) and _logs_below(process, home.ray):
                found[process.pid] = process
    return [process for process in found.values() if _lives(process)]


def by_part(home: Home) -> dict[Part, list[psutil.Process]]:
    """Return the processes of each part, a part's first process first."""
    found: dict[Part, list[psutil.Process]] = {part: [] for part in PARTS}
    for process in of_stack(home):
        part = _part_of(process)
        if part is not None:
            found[part].append(process)
    for processes in found.values():
        processes.sort(key=lambda process: process.pid)
    return found


def find(home: Home, part: Part) -> list[psutil.Process]:
    """Return the living processes of one part."""
    return by_part(home)[part]


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to those of the processes that still live."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _part_of(process: psutil.Process) -> Part | None:
    try:
        name, words = process.name(), process.cmdline()
    except psutil.Error:
        return None
    line = " ".join(words)
    if name == "gcs_server":
        return "gcs"
    if name == "raylet":
        return "raylet"
    if _is_runner(process):
        return "runner"
    if "service.api" in words:
        return "api"
    if "service.controller" in words:
        return "controller"
    if "start" in words and "--head" in words:
        return "ray"
    return "mlflow" if "mlflow" in line else None


def _is_runner(process: psutil.Process) -> bool:
    return "PackRunner" in " ".join(process.cmdline())


def _logs_below(process: psutil.Process, folder: Path) -> bool:
    """Return whether the process writes its output to a file below a folder, which may be removed by now."""
    return Path(os.readlink(f"/proc/{process.pid}/fd/2")).is_relative_to(folder)


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False

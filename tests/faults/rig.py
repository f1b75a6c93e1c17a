"""Run a stack until SIGTERM or the end of the caller, with a proxy between its controller and MLflow.

``spectral up`` has no such proxy, and no database of the caller's choice. All else is the stack that users run.
"""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
import threading
from pathlib import Path

import service.stack.stack as stack_module
from service.stack import Stack
from service.stack.errors import StackError
from service.stack.processes import Layout, ManagedProcess, managed_processes


def main() -> int:
    """Run the stack that the arguments describe; return 0 after SIGTERM and 1 if it does not start."""
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path)
    for name in ("--port", "--mlflow-port", "--cpus"):
        parser.add_argument(name, type=int, required=True)
    for name in ("--database", "--mlflow-proxy"):
        parser.add_argument(name, required=True)
    given = parser.parse_args()

    def through_the_proxy(layout: Layout) -> list[ManagedProcess]:
        return [_with_proxy(part, given.mlflow_proxy) for part in managed_processes(layout)]

    vars(stack_module)["managed_processes"] = through_the_proxy
    running = Stack(given.home, given.port, given.mlflow_port, given.cpus, database_url=given.database, say=say)
    signal.signal(signal.SIGTERM, lambda *_: running.interrupt())
    threading.Thread(target=_end_with_the_caller, args=(running,), daemon=True).start()
    try:
        with running:
            say("up")
            running.wait()
    except (StackError, KeyboardInterrupt) as error:
        say(f"{type(error).__name__}: {error}")
        return 1
    return 0


def _end_with_the_caller(running: Stack) -> None:
    """Stop the stack once standard input is closed, which the kernel does when the caller ends in any way."""
    sys.stdin.buffer.read()
    running.interrupt()


def _with_proxy(part: ManagedProcess, proxy: str) -> ManagedProcess:
    if part.name != "controller":
        return part
    return dataclasses.replace(part, environment={**part.environment, "SPECTRAL_MLFLOW_URL": proxy})


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""``spectral up``: run a stack in a terminal until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time
import webbrowser
from contextlib import suppress
from pathlib import Path

from service.stack.errors import HomeBusy, StackError, Unusable
from service.stack.stack import Stack

BANNER = """
The Spectral-RNN service is up ({seconds:.0f} s). Ctrl-C stops it; running trials continue at the next start.

  Web page     {url}
  Manual       {url}/manual/
  REST calls   {url}/docs
  MLflow       {mlflow_url}
  Data         {home}{sign_in}
  Logs         {logs}
"""
SIGN_IN = """
  Sign in      with the token in {file} (or: spectral token create)"""


def up(
    home: Path,
    port: int = 8000,
    mlflow_port: int = 5000,
    cpus: int | None = None,
    gpus: int | None = None,
    foreground: bool = True,
    auth: str = "auto",
    workers: int = 1,
    show_page: bool = False,
) -> int:
    """Start a stack, run it until SIGINT or SIGTERM, and stop it. Call this in the main thread.

    Args:
        home: The folder for everything that the stack keeps.
        port: The port of the API and the web page; 0 picks a free one.
        mlflow_port: The port of MLflow; 0 picks a free one.
        cpus: The number of CPUs to train on; None for all of this machine.
        gpus: The number of GPUs to train on; None for all of this machine.
        foreground: Print the addresses, and a line whenever a process has ended and is restarted. If false, only the
            error that prevents the start is printed.
        auth: ``tokens`` if users have to show a token; ``auto`` and ``none`` ask for none.
        workers: The number of processes that serve the API.
        show_page: Open the web page in the browser as soon as it answers.

    Returns:
        The exit code: 0 after a signal, also one during the start; 1 if a process did not get ready; 2 if a port, the
        folder, the settings or this installation cannot be used; 3 if another stack runs in ``home``.
    """
    say = _print if foreground else _nothing
    stack = Stack(home, port, mlflow_port, cpus, gpus, auth=auth, workers=workers, say=say)
    before = {n: signal.signal(n, lambda *_: stack.interrupt()) for n in (signal.SIGINT, signal.SIGTERM)}
    started = time.monotonic()
    try:
        with stack:
            say(
                BANNER.format(
                    seconds=time.monotonic() - started,
                    url=stack.url,
                    mlflow_url=stack.mlflow_experiments_url,
                    home=stack.home.path,
                    sign_in=SIGN_IN.format(file=stack.home.admin_token) if stack.layout.needs_sign_in else "",
                    logs=stack.home.logs,
                )
            )
            if show_page and not webbrowser.open(stack.url):
                say(f"No browser was found on this machine; open {stack.url} in one.")
            stack.wait()
            say("Stopping ...")
    except KeyboardInterrupt:
        say("Stopped before it was up.")
    except StackError as error:
        print(f"spectral up: {error}", file=sys.stderr)
        return 3 if isinstance(error, HomeBusy) else 2 if isinstance(error, Unusable) else 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _print(message: str) -> None:
    with suppress(OSError):  # a terminal that is gone, or a full disk, must not end the supervision
        print(message, flush=True)


def _nothing(message: str) -> None:
    pass

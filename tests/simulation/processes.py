"""Simulated processes: threads of which exactly one runs at a time, and which can be killed or stopped anywhere.

A process runs until it pauses. All processes pause outside transactions, so the main thread and the other processes
find the database unlocked. To kill a process is to raise ``Killed`` at the place where it is; whatever the process does
on its way out has no effect, as after a SIGKILL.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Killed(BaseException):
    """The process was killed. It is no Exception, so that no handler of the code under test stops it."""


class Process:
    """One run of a program in a thread of its own.

    Attributes:
        name: Its name in the trace.
        alive: Whether the program has neither returned nor been killed.
        doomed: Whether the process was killed; it ends as soon as it runs on.
        stopped: Whether it got SIGSTOP, and no SIGCONT yet.
        error: What the program has raised, other than ``Killed``.
    """

    def __init__(self, name: str, program: Callable[[], None]) -> None:
        self.name = name
        self.alive, self.doomed, self.stopped = True, False, False
        self.error: BaseException | None = None
        self._turn, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(program,), name=name, daemon=True)
        self._thread.start()

    def resume(self) -> None:
        """Let the process run until it pauses or ends. Called by the main thread."""
        if self.alive:
            self._turn.release()
            self._back.acquire()

    def pause(self) -> None:
        """Return to the main thread until it resumes this process. Called by the process itself.

        Raises:
            Killed: If the process was killed meanwhile, or before.
        """
        self.check()
        self._back.release()
        self._turn.acquire()
        self.check()

    def check(self) -> None:
        """Raise Killed if the process was killed."""
        if self.doomed:
            raise Killed

    def kill(self) -> None:
        """Kill the process while it pauses, and wait until its thread has ended. Called by the main thread."""
        self.doomed = True
        self.resume()
        self._thread.join()

    def _run(self, program: Callable[[], None]) -> None:
        self._turn.acquire()
        try:
            if not self.doomed:
                program()
        except Killed:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self.alive = False
            self._back.release()

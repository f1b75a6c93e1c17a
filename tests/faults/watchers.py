"""Two onlookers beside a sweep: a reader of its events that loses its connection, and one of its checkpoints."""

from __future__ import annotations

import json
import random
import threading
from contextlib import suppress
from pathlib import Path

import httpx

from service.client import ENDS
from service.http_client import http_client

LOOK_SECONDS = 0.02
MOST_EVENTS = 40
"""The reader hangs up after at most this many events."""


class EventReader:
    """Reads a sweep's events in a thread, and connects again and again with the number of the last one.

    Attributes:
        seqs: The numbers of all events that came, in the order in which they came.
        ended: Whether the event of the sweep's end has come.
    """

    def __init__(self, url: str, sweep_id: str, chance: random.Random) -> None:
        self._url, self._chance = f"{url}/v1/sweeps/{sweep_id}/events", chance
        self.seqs: list[int] = []
        self.ended = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        with http_client(self._url, timeout=10.0) as http:
            while not self.ended and not self._done.wait(0.1):
                with suppress(httpx.HTTPError):
                    self._read(http, self._chance.randint(1, MOST_EVENTS))

    def _read(self, http: httpx.Client, count: int) -> None:
        last = {"Last-Event-ID": str(self.seqs[-1])} if self.seqs else {}
        with http.stream("GET", self._url, headers=last) as response:
            if response.status_code != 200:
                return
            for line in response.iter_lines():
                if self._done.is_set():
                    return
                if line.startswith("data:"):
                    event = json.loads(line.removeprefix("data:"))
                    self.seqs.append(event["seq"])
                    self.ended = event["kind"] in ENDS
                    count -= 1
                    if self.ended or count <= 0:
                        return


class CheckpointWatch:
    """Looks at the folder of a sweep's checkpoints in a thread, and notes which whole ones are written a second time.

    Training that goes on from the newest whole checkpoint never writes one of that step, or of an earlier one, again:
    at most the steps since it are redone, which is less than one interval.

    Attributes:
        again: The trial and the step of each checkpoint that was written although a whole one was as new.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.again: list[tuple[str, int]] = []
        self._newest: dict[str, tuple[int, int]] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        """Note what has been written since the last look."""
        for manifest in sorted(self._folder.glob("*/step-*/manifest.json")):
            with suppress(OSError):
                self._note(manifest, manifest.stat().st_mtime_ns)

    def _note(self, manifest: Path, written_at: int) -> None:
        trial, step = manifest.parent.parent.name, int(manifest.parent.name.removeprefix("step-"))
        newest, at = self._newest.get(trial, (-1, -1))
        if written_at > at:
            if step <= newest:
                self.again.append((trial, step))
            self._newest[trial] = (max(step, newest), written_at)


def half_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a sweep that have no manifest, and the files that were not renamed yet."""
    steps = [path for path in folder.glob("*/step-*") if not (path / "manifest.json").exists() and path.exists()]
    return [*steps, *folder.glob("*/step-*/.*.tmp")]

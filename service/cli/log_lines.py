"""The lines of ``spectral logs``: a trial's events, the ends of its attempts, and what its workers printed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal

from service.client import RestClient
from service.states import TRIAL_ENDED

LOOK_SECONDS = 1.0
EVENTS = 1_000
"""How many events one answer has at most."""
Dated = tuple[str, str]
"""A time as the API writes it, and a text."""


def lines(client: RestClient, trial_id: str, *, follow: bool, output_only: bool) -> Iterator[str]:
    """Yield the lines of a trial's log, each once: what is there in order of time, and then what is added.

    Args:
        client: The service's client.
        trial_id: The trial.
        follow: Wait for further lines until the trial has ended.
        output_only: Leave out events and attempts.
    """
    log = _Log()
    only: Literal["output"] | None = "output" if output_only else None
    while True:
        new: list[Dated] = []
        more = True
        while more:
            found = client.logs(trial_id, only, after=log.last_line, events_after=log.last_event)
            new += log.new(found)
            more = found["more_lines"] or len(found["events"]) == EVENTS
        for at, text in sorted(new, key=lambda dated: dated[0]):
            yield f"{at[:19]}Z  {_plain(text)}"
        if not follow or found["state"] in TRIAL_ENDED:
            return
        time.sleep(LOOK_SECONDS)


class _Log:
    """What was printed so far: the last line, the last event, the attempts whose ends were told, and their output."""

    def __init__(self) -> None:
        self.last_line: str | None = None
        self.last_event = 0
        self._told: set[int] = set()
        self._texts: dict[int, set[str]] = {}

    def new(self, found: dict[str, Any]) -> Iterator[Dated]:
        """Yield what is new in an answer, with its time."""
        for line in found["lines"]:
            self.last_line = line["id"]
            self._texts.setdefault(line["attempt"], set()).add(line["text"])
            yield line["at"], f"{line['level'] or line['stream']:<7}  {line['text']}"
        for event in found["events"]:
            self.last_event = event["seq"]
            yield event["at"], _event_line(event)
        for attempt in found["attempts"]:
            if attempt["ended_at"] and attempt["number"] not in self._told and not found["more_lines"]:
                self._told.add(attempt["number"])
                yield attempt["ended_at"], _attempt_line(attempt)
                # what was logged of a failure is mostly in the output too, and is not printed twice
                known = self._texts.pop(attempt["number"], set())
                for line in (attempt["log"] or "").splitlines():
                    if line not in known:
                        yield attempt["ended_at"], f"    {line}"


def _plain(text: str) -> str:
    """Return a text without what moves a terminal's cursor: reasons and tracebacks may quote labels of a data file."""
    return "".join(letter if letter.isprintable() or letter == "\t" else " " for letter in text)


def _event_line(event: dict[str, Any]) -> str:
    facts = event.get("data") or {}
    told = "  ".join(f"{name}={value}" for name, value in facts.items() if value is not None and name != "number")
    return f"{event['kind']}  {told}".rstrip()


def _attempt_line(attempt: dict[str, Any]) -> str:
    cause = f" ({attempt['cause']})" if attempt.get("cause") else ""
    reason = f": {attempt['reason']}" if attempt.get("reason") else ""
    return f"attempt {attempt['number']} ended: {attempt['outcome']}{cause}{reason}"

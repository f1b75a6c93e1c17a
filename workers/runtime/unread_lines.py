"""The lines that a runner has printed and that no poll has acknowledged yet: so many as fit, the first and the last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workers.output_bounds import cut_line, middle, note, size_of
from workers.protocol import OutputLine, OutputStream
from workers.runtime.failure_log import without_folders

MOST_CHARACTERS = 128 * 1024
"""How much is kept for the next poll. If it becomes more, the first half and the last quarter of it stay."""
LEVEL_CHARACTERS = 20
"""A longer name of a log level is cut: any package may add levels, and the database keeps no more."""


@dataclass
class PrintedLine:
    """A line as it was printed. It gets its number ``seq`` when it is sent, or before the next report; 0 until then."""

    at: float
    stream: OutputStream
    text: str
    level: str | None = None
    trial_id: str | None = None
    left_out: int = 0
    seq: int = 0


class UnreadLines:
    """Keeps lines until they are acknowledged. It has no lock: whoever uses it in several threads holds one."""

    def __init__(self) -> None:
        self._lines: list[PrintedLine] = []
        self._size = 0
        self._sent = 0

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, line: PrintedLine) -> None:
        """Keep a line. If there are too many, those in the middle are left out, with a note of how many they were."""
        line.text, line.level = cut_line(line.text), line.level and line.level[:LEVEL_CHARACTERS]
        self._lines.append(line)
        self._size += size_of(line.text)
        if self._size > MOST_CHARACTERS:
            self._leave_out()

    def number(self, next_number: Callable[[], int]) -> None:
        """Give the lines that have none yet their numbers, in order."""
        for line in self._lines:
            line.seq = line.seq or next_number()

    def acknowledge(self, seq: int) -> None:
        """Drop the lines whose numbers are at most ``seq``."""
        self._lines = [line for line in self._lines if not line.seq or line.seq > seq]
        self._count()

    def to_send(self) -> list[OutputLine]:
        """Return the lines that have numbers, without the folders of the machine and without credentials."""
        self._sent = max([self._sent, *(line.seq for line in self._lines)])
        return [
            OutputLine(
                seq=line.seq,
                at=line.at,
                stream=line.stream,
                text=without_folders(line.text),
                level=line.level,
                trial_id=line.trial_id,
                left_out=line.left_out,
            )
            for line in self._lines
            if line.seq
        ]

    def _leave_out(self) -> None:
        sizes = [(size_of(line.text), line.left_out) for line in self._lines]
        cut = middle(sizes, MOST_CHARACTERS // 2, MOST_CHARACTERS // 4)
        # Lines that were sent may be stored already. They have a note of their own, which is dropped if they are.
        sent = [line for line in self._lines[cut] if 0 < line.seq <= self._sent]
        others = self._lines[cut][len(sent) :]
        self._lines[cut] = [_note_of(gone) for gone in (sent, others) if gone]
        self._count()

    def _count(self) -> None:
        self._size = sum(size_of(line.text) for line in self._lines)


def _note_of(gone: list[PrintedLine]) -> PrintedLine:
    """Return the line that stands for lines that are left out; its number is that of the last of them."""
    count = sum(line.left_out or 1 for line in gone)
    return PrintedLine(gone[-1].at, "note", note(count), left_out=count, seq=gone[-1].seq)

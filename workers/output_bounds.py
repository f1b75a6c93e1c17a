"""How much is kept of what a process prints: the first part and the last, and how many lines are missing between."""

from __future__ import annotations

from collections.abc import Sequence

LINE_CHARACTERS = 2_000
"""A longer line is cut."""
OVERHEAD = 64
"""What a line counts beside its characters, so that many short lines are bounded too."""


def size_of(text: str) -> int:
    """Return what a line counts, in characters."""
    return len(text) + OVERHEAD


def cut_line(text: str) -> str:
    """Return a line of at most about ``LINE_CHARACTERS``, which says how much of it is missing."""
    missing = len(text) - LINE_CHARACTERS
    return text if missing <= 0 else f"{text[:LINE_CHARACTERS]} ... ({missing} more characters)"


def middle(lines: Sequence[tuple[int, int]], first: int, last: int) -> slice:
    """Return the place of the lines that are to be left out: those that belong neither to the first nor the last ones.

    Args:
        lines: Of each line in order its size, and for how many lines it stands that were left out before; 0 if it is a
            line itself.
        first: The most characters of the lines that are kept at the beginning.
        last: The most characters of those that are kept at the end.
    """
    begin, size = 0, 0
    while begin < len(lines) and (size := size + lines[begin][0]) <= first:
        begin += 1
    # what was left out before becomes a part of what is left out now
    while begin > 0 and lines[begin - 1][1]:
        begin -= 1
    end, size = len(lines), 0
    while end > begin and (size := size + lines[end - 1][0]) <= last:
        end -= 1
    return slice(begin, end)


def note(count: int) -> str:
    """Return the text of the line that stands for so many lines that were left out."""
    return f"... {count} {'line is' if count == 1 else 'lines are'} left out here ..."

"""Where gradients are looked at: the steps of a sequence, and the sequences of a batch (no torch)."""

POINTS = 16
"""Points of time of a look, evenly from the first state to the last; fewer where there are fewer steps."""
ROWS = 16
"""Most sequences of a batch that gradients over time are taken of, and at most a quarter of it: they cost one forward
and backward over these."""


def cuts(steps: int) -> list[int]:
    """Steps done at the points, from 0 to ``steps``."""
    return sorted({round(i * steps / (POINTS - 1)) for i in range(POINTS)})


def rows(batch_size: int) -> int:
    """Sequences that are looked at."""
    return max(1, min(ROWS, batch_size // 4))

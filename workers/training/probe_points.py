"""The points at which gradients over time are measured: steps of a sequence, and sequences of a batch. No torch."""

POINTS = 16
"""The number of points of time, spaced evenly from the first state to the last; a shorter sequence has fewer."""
ROWS = 16
"""The largest number of sequences of a batch that are used. At most a quarter of a batch is used, because the gradients
cost a forward and a backward pass over these sequences."""


def time_points(steps: int) -> list[int]:
    """Return the points of time in a sequence of ``steps`` steps, in steps done, from 0 to ``steps``."""
    return sorted({round(i * steps / (POINTS - 1)) for i in range(POINTS)})


def sequence_count(batch_size: int) -> int:
    """Return how many sequences of a batch are used."""
    return max(1, min(ROWS, batch_size // 4))

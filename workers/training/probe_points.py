"""Where gradients over time are measured: at which steps, and on how many sequences of a batch. No torch."""

POINTS = 16
"""The number of time points, spaced evenly from the first state to the last; fewer for a sequence below 15 steps."""
ROWS = 16
"""The largest number of sequences of a batch that are used. At most a quarter of a batch is used, because the gradients
cost a forward and a backward pass over these sequences."""


def time_points(steps: int) -> list[int]:
    """Return the time points: at which numbers of steps done the state of a sequence of ``steps`` steps is probed.

    They ascend from 0 to ``steps``, evenly spaced up to rounding; there are ``POINTS`` of them, or ``steps`` + 1.
    """
    return sorted({round(i * steps / (POINTS - 1)) for i in range(POINTS)})


def sequence_count(batch_size: int) -> int:
    """Return how many sequences of a batch are used: a quarter, at least 1 and at most ``ROWS``."""
    return max(1, min(ROWS, batch_size // 4))

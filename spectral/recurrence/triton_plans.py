"""How the Triton kernels of the recurrence divide their work among programs."""

from typing import NamedTuple

from spectral.gpu.device import power_of_two

RESIDENT = 1 << 15
"""Entries of A up to which a program of one row reads A and C once for the whole sequence.

In float32, 2^14 entries stay in registers, half of those of a multiprocessor. At 2^15 the compiler keeps about 50 of a
thread's 128 numbers in its stack, that is in the L1 cache.
"""

READ_AGAIN = 1 << 13
"""Entries of A, and as many of C, that stay on the chip above RESIDENT.

The others are read from L1 or L2 at every step, so many at a time.
"""

SHORTEST_RANGE = 256
"""The fewest rows of a trial that one program of the sums adds up, if the trial has as many."""

ROUND = 64
"""Rows to a multiple of which a range is rounded up: whole tiles."""


SMALLEST_SIDE = 16
"""The smallest side of a matrix product that every version of Triton takes, but for the side of 8 rows."""


TILES = (8, 16)
"""Batch rows of a tile: the short side of its matrix products."""


TILES_FROM, SMALL_TILES_FROM = 160, 220
"""Batch rows for each multiprocessor, times r, from which tiles are faster than rows; for n >= 128, and for smaller n.

Programs of tiles take as long for one tile as for one on every multiprocessor; rows take turns.
"""


class Plan(NamedTuple):
    """How the batch rows and the columns of A and C are divided among the programs of one direction."""

    rows: int
    """Batch rows of a program: 1, or those of a tile."""
    warps: int
    """Warps of a program; in a tile, also the number of blocks into which the units are cut."""
    held: int
    """Columns of A and C that stay on the chip; the others are read so many at a time. All of them in a tile."""


class SumPlan(NamedTuple):
    """How the sums over all steps and rows are divided."""

    tile: int
    """Rows that are read at a time."""
    block: int
    """Units of a program."""
    warps: int
    """Warps of a program."""
    stages: int
    """Tiles that are on their way at a time."""
    share: int = 2
    """Programs for each multiprocessor, if there is one trial."""


class Plans(NamedTuple):
    """The plans of one training step. They decide the order of every sum, hence the bits of the results."""

    forward: Plan
    backward: Plan
    sums: SumPlan


class PlanShape(NamedTuple):
    """What a plan depends on."""

    size: int
    """The hidden size n."""
    rank: int
    """r, the number of columns of A and C."""
    trials: int
    """K."""
    batch: int
    """B, the batch rows of a trial."""
    bits: int
    """Bits of a number in which the kernels add: 32 or 64."""


def bucket(shape: PlanShape) -> PlanShape:
    """Return the shape with every size rounded up to a power of two; shapes of one bucket have the same plans."""
    size, rank, trials, batch, bits = shape
    return PlanShape(power_of_two(size), power_of_two(rank), power_of_two(trials), power_of_two(batch), bits)


def candidates(shape: PlanShape) -> list[Plan]:
    """Return plans that may be the fastest for one direction.

    Args:
        shape: A shape as ``bucket`` returns it.
    """
    n, r = shape.size, shape.rank
    whole = _alone(n, r, 32)
    rows = [Plan(1, warps, whole.held) for warps in _near(whole.warps)]
    if n * r > RESIDENT // 2:
        rows += [Plan(1, 16, held) for held in (r, r // 2, r // 4) if held]
    if shape.bits == 32 and 2 * SMALLEST_SIDE <= n <= 512 and r <= 64:
        rows += [Plan(tile, max(2, n // 32), r) for tile in TILES]
    return rows


def sum_candidates(shape: PlanShape) -> list[SumPlan]:
    """Return plans that may be the fastest for the sums; the argument as in ``candidates``."""
    if shape.bits != 32:
        return []
    shapes = [(16, 64, 2), (16, 128, 4), (32, 64, 4), (32, 128, 8)]
    return [SumPlan(tile, block, warps, 3) for tile, block, warps in shapes if block <= max(64, shape.size)]


def by_table(shape: PlanShape, processors: int) -> Plans:
    """Return plans that are good on an H100.

    Args:
        shape: What is to be computed.
        processors: The number of multiprocessors of the device.
    """
    n, r = power_of_two(shape.size), power_of_two(shape.rank)
    rows = shape.trials * shape.batch
    if shape.bits != 32:
        alone = _alone(n, r, 32)
        return Plans(alone, alone, SumPlan(16, min(64, max(SMALLEST_SIDE, n)), 4, 1))
    if n <= 64:
        sums = SumPlan(32, max(SMALLEST_SIDE, n), 2, 3)
    else:
        sums = SumPlan(16, 128, 4, 3) if r <= 32 else SumPlan(16, 32, 2, 3)
    tiles_from = TILES_FROM if n >= 128 else SMALL_TILES_FROM
    if 2 * SMALLEST_SIDE <= n <= 256 and r <= 32 and rows * r > tiles_from * processors:
        tile = Plan(8, max(2, n // 32), r)
        return Plans(tile, tile, sums)
    # With fewer warps a thread adds more by itself, and less moves between warps. For r = 32 and small n, more warps
    # were faster.
    forward = _alone(n, r, 32 if r == 32 and n <= 128 and rows <= processors else 64)
    backward = _alone(n, r, 32 if r == 32 and n <= 256 else 64)
    return Plans(forward, backward, sums)


def _alone(n: int, r: int, entries: int) -> Plan:
    """Return a plan for rows by themselves.

    Args:
        n: The hidden size, a power of two.
        r: The rank, a power of two.
        entries: Entries of A, and as many of C, for each thread.
    """
    held = r if n * r <= RESIDENT else min(r, max(1, READ_AGAIN // n))
    return Plan(1, min(16, max(1, n * r // (32 * entries))), held)


def _near(warps: int) -> list[int]:
    """Return numbers of warps near one that may be better."""
    return [number for number in (warps // 2, warps, 2 * warps) if 1 <= number <= 16]


def ranges(rows: int, size: int, plan: SumPlan, processors: int) -> tuple[int, int]:
    """Return into how many ranges the rows of one trial are cut, and how many rows a range has.

    It does not depend on the number of trials, so that a trial has the same bits in any company.

    Args:
        rows: T B, the rows of a trial.
        size: The hidden size n.
        plan: How the sums are divided.
        processors: The number of multiprocessors of the device.
    """
    blocks = -(-size // plan.block)
    parts = max(1, min(processors * plan.share // blocks, rows // SHORTEST_RANGE))
    span = -(-rows // (parts * ROUND)) * ROUND
    return -(-rows // span), span

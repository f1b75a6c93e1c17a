"""When packs begin and end on the workers that there are, planned as the controller plans them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Literal

from workers.runtime.pack_planner import plan
from workers.spec.trial import TrialSpec

REPLANNED = 120
"""Sweeps of up to so many trials are planned again whenever a pack ends, as the controller does it."""

TICK_SECONDS = 0.25
"""Packs that end within so many seconds are seen to have ended at the same time: half a tick of the controller."""

PackLength = Callable[[Sequence[int]], float]
"""How many seconds a pack takes, by the positions of its trials."""


def planned_packs(
    trials: Sequence[TrialSpec],
    pack_size: int | Literal["auto"],
    workers: int,
    gpus: float,
    length: PackLength,
    concurrent: int | None = None,
    repeats: int = 1,
    most: int | None = None,
) -> list[list[int]]:
    """Return the packs in the order in which they begin, each as positions in ``trials``.

    Args:
        trials: The trials in the order of their numbers.
        pack_size: The largest size of a pack, or "auto".
        workers: How many packs run at the same time, at least 1.
        gpus: GPUs per pack.
        length: How long a pack takes.
        concurrent: How many trials at most have begun and not ended; None for no bound. A sampler that learns from
            results waits for them.
        repeats: How many trials with consecutive numbers repeat one point; they stay together if they can.
        most: How many trials may run at the same time, at least 1; None for no bound. Packs are made of as many trials
            as may begin.
    """
    if len(trials) > REPLANNED:
        step = min(concurrent or len(trials), most or len(trials))
        chunks = [range(start, min(start + step, len(trials))) for start in range(0, len(trials), step)]
        found = []
        for chunk in chunks:
            packs = plan([trials[position] for position in chunk], pack_size, workers, gpus, repeats)
            found += [[chunk[place] for place in pack] for pack in packs]
        return found
    known = min(len(trials), concurrent or len(trials))
    waiting, running, begun, now, ended = list(range(known)), list[tuple[float, int]](), list[list[int]](), 0.0, 0
    while waiting or running:
        free, room = workers - len(running), (most or len(trials)) - sum(len(begun[number]) for _, number in running)
        if waiting and free and room > 0:
            packs = plan([trials[position] for position in waiting[:room]], pack_size, workers, gpus, repeats)[:free]
            for pack in packs:
                begun.append([waiting[place] for place in pack])
                heapq.heappush(running, (now + length(begun[-1]), len(begun) - 1))
            taken = {place for pack in packs for place in pack}
            waiting = [position for place, position in enumerate(waiting) if place not in taken]
            continue
        until = running[0][0] + TICK_SECONDS
        while running and running[0][0] <= until:
            at, number = heapq.heappop(running)
            now, ended = max(now, at), ended + len(begun[number])
        more = min(len(trials), ended + (concurrent or len(trials)))
        waiting += range(known, more)
        known = max(known, more)
    return begun


def makespan(
    lengths: Sequence[float],
    workers: int,
    busy: Sequence[float] = (),
    sizes: Sequence[int] = (),
    most: int | None = None,
) -> float:
    """Return when the last of some packs ends, each of which begins in turn as soon as there is a free worker.

    Args:
        lengths: The seconds that each pack takes, in the order in which they begin.
        workers: How many packs run at the same time, at least 1.
        busy: The seconds after which workers become free that run something now.
        sizes: How many trials the busy workers run, and then how many each of the packs has; needed with ``most``.
        most: How many trials run at the same time; None for no bound. A pack waits until it fits, or is alone.
    """
    sizes = sizes or [0] * (len(busy) + len(lengths))
    running = list(zip(busy, sizes, strict=False))
    heapq.heapify(running)
    now, trials, last = 0.0, sum(size for _, size in running), max(busy, default=0.0)
    for seconds, size in zip(lengths, sizes[len(busy) :], strict=True):
        while running and (len(running) >= workers or (most is not None and trials + size > most)):
            now, ended = heapq.heappop(running)
            trials -= ended
        heapq.heappush(running, (now + seconds, size))
        trials += size
        last = max(last, now + seconds)
    return last

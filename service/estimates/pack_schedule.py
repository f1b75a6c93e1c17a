"""When packs begin and end on the workers that there are, planned as the controller plans them."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from workers.runtime.pack_planner import plan
from workers.spec.trial import TrialSpec

REPLANNED = 120
"""Sweeps of up to so many trials are planned again whenever a pack ends, as the controller does it."""

TICK_SECONDS = 0.25
"""Packs that end within so many seconds are seen to have ended at the same time: half a tick of the controller."""

REFILL_SECONDS = 0.5
"""About so long a runner all of whose trials have ended waits until it is given others: a tick of the controller."""

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
    bounded, shapes = concurrent is not None or most is not None, set[str]()
    while waiting or running:
        free, room = workers - len(running), (most or len(trials)) - sum(len(begun[number]) for _, number in running)
        if waiting and free and room > 0:
            packs = plan([trials[position] for position in waiting[:room]], pack_size, workers, gpus, repeats)
            if not bounded:  # the runners of packs that have just ended go on with trials of their shapes
                packs.sort(key=lambda pack: trials[waiting[pack[0]]].shape_key not in shapes)
            packs = packs[:free]
            for pack in packs:
                begun.append([waiting[place] for place in pack])
                heapq.heappush(running, (now + length(begun[-1]), len(begun) - 1))
            taken = {place for pack in packs for place in pack}
            waiting = [position for place, position in enumerate(waiting) if place not in taken]
            continue
        until = running[0][0] + TICK_SECONDS
        shapes = set()
        while running and running[0][0] <= until:
            at, number = heapq.heappop(running)
            now, ended = max(now, at), ended + len(begun[number])
            shapes.add(trials[begun[number][0]].shape_key)
        more = min(len(trials), ended + (concurrent or len(trials)))
        waiting += range(known, more)
        known = max(known, more)
    return begun


class PackLoad(NamedTuple):
    """What a pack means for the schedule.

    Attributes:
        seconds: How long it takes from its first step on; of one that runs, how long it still takes.
        trials: The number of its trials.
        shape: The shape key of its trials. A runner goes on with trials of the shape of those that have ended.
    """

    seconds: float
    trials: int
    shape: str


class Schedule(NamedTuple):
    """When the last of some packs ends, in seconds from now on, and how many of them begin in a new process."""

    end: float
    starts: int


def schedule(
    packs: Sequence[PackLoad],
    workers: int,
    start: float,
    busy: Sequence[PackLoad] = (),
    most: int | None = None,
) -> Schedule:
    """Return how packs end, each of which begins in turn as soon as there is a free worker.

    Args:
        packs: The packs in the order in which they begin. One of the shape of a pack that ends comes before others
            there, since the process goes on with it after ``REFILL_SECONDS``.
        workers: How many packs run at the same time, at least 1.
        start: The seconds from the decision to train a pack in a new process to its first step.
        busy: The packs that run now.
        most: How many trials run at the same time; None for no bound. Packs wait in their order then, until they fit or
            are alone.
    """
    running = [(pack.seconds, number, pack) for number, pack in enumerate(busy)]
    heapq.heapify(running)
    waiting, of_shape = dict(enumerate(packs, len(busy))), defaultdict[str, deque[int]](deque)
    for number, pack in waiting.items():
        of_shape[pack.shape].append(number)
    now, starts, trials = 0.0, 0, sum(pack.trials for pack in busy)
    last = max((pack.seconds for pack in busy), default=0.0)
    while waiting:
        first = next(iter(waiting))
        free = list[str]()
        while running and (len(running) >= workers or (most is not None and trials + waiting[first].trials > most)):
            now, _, ended = heapq.heappop(running)
            trials -= ended.trials
            free.append(ended.shape)
        like = [of_shape[shape][0] for shape in free if of_shape[shape]]
        number = min(like) if like and most is None else first
        pack = waiting.pop(number)
        of_shape[pack.shape].popleft()
        goes_on = pack.shape in free
        starts += not goes_on
        end = now + (REFILL_SECONDS if goes_on else start) + pack.seconds
        heapq.heappush(running, (end, number, pack))
        trials += pack.trials
        last = max(last, end)
    return Schedule(last, starts)

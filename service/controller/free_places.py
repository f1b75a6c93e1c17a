"""Which waiting trials go into which packs that train already, and which packs are merged. Without the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from service.store import attempts
from service.store.tables import Attempt
from workers.runtime.pack_planner import even_size, largest_size
from workers.spec.resources import ResourcesSpec
from workers.spec.trial import TrialSpec

MOST_TRIALS = 1_000
"""A runner that was given so many trials gets no more of them. Another process follows it."""


@dataclass(frozen=True)
class LivePack:
    """A pack whose runner trains, or waits for trials.

    Attributes:
        id: The pack's id.
        trials: The ids of its trials that have not ended.
        spec: The specification of one of its trials, whose shape key all of them have.
        planned: The number of trials that it was planned with.
        given: The number of trials that it has had.
        suspect: Whether one of its trials may be what ended an earlier process. Such a pack is left to itself, so that
            no other trial is lost with it, and the trial is found.
    """

    id: str
    trials: frozenset[str]
    spec: TrialSpec
    planned: int
    given: int
    suspect: bool = False

    def limit(self, needs: ResourcesSpec) -> int:
        """Return how many trials it may have at a time.

        On a GPU these are as many as it was planned with: so many places were measured when its runner began.
        """
        largest = largest_size(self.spec, needs.pack_size, needs.gpus)
        return min(largest, self.planned) if needs.gpus else largest

    def free(self, needs: ResourcesSpec) -> int:
        """Return how many more trials it may have now."""
        return 0 if self.suspect or self.given >= MOST_TRIALS else max(0, self.limit(needs) - len(self.trials))


def may_join(history: Sequence[Attempt]) -> bool:
    """Return whether a waiting trial may go into a pack that trains already, by its attempts in their order.

    A trial that was lost, has failed or was paused goes on in a pack of its own, with those that were with it
    (``placement.retry_packs``): it may end another process, too, or has the same bits beside the same others alone.
    """
    return not history or history[-1].outcome == attempts.MOVED


def is_suspect(history: Sequence[Attempt]) -> bool:
    """Return whether a trial may be what ended one of its earlier packs, by its attempts."""
    ended = {attempts.LOST: ("process", "memory"), attempts.FAILED: ("user", "memory")}
    return any(attempt.cause in ended.get(str(attempt.outcome), ()) for attempt in history)


def assign(
    waiting: Mapping[str, TrialSpec],
    live: Sequence[LivePack],
    were_in: Mapping[str, set[str]],
    needs: ResourcesSpec,
    workers: int,
    *,
    room: bool,
) -> dict[str, list[str]]:
    """Decide which waiting trials of a sweep go into which of its packs that train.

    While there is room for a new pack, packs are filled up to the size that the planner gives to all trials of the
    shape together, and the others are left for new packs; unless these are less than half a pack, which is not worth a
    new process. If there is no room, packs are filled up to their limits. The emptiest pack comes first.

    Args:
        waiting: The specification of each waiting trial that may join a pack, by its id, the first in line first.
        live: The packs of the sweep whose runners train.
        were_in: The packs in which a trial was before, by its id: it never goes there again. May lack trials.
        needs: The resources of a pack of the sweep.
        workers: How many packs of the sweep fit on the whole cluster.
        room: Whether there is room for a new pack now.

    Returns:
        The trials that each pack is given, by the pack's id.
    """
    given: dict[str, list[str]] = {}
    for shape in dict.fromkeys(pack.spec.shape_key for pack in live):
        own = [pack for pack in live if pack.spec.shape_key == shape]
        joining = [trial for trial, spec in waiting.items() if spec.shape_key == shape]
        total = len(joining) + sum(len(pack.trials) for pack in own)
        size = even_size(own[0].spec, total, needs.pack_size, max(1, workers), needs.gpus)
        filling = _Filling(own, were_in, needs)
        left = filling.fill(joining, size if room else None)
        if len(left) < max(1, size // 2):
            filling.fill(left, None)
        given |= filling.given
    return given


class _Filling:
    """The places of some packs of one shape while they are being filled."""

    def __init__(self, live: Sequence[LivePack], were_in: Mapping[str, set[str]], needs: ResourcesSpec) -> None:
        self._packs = {pack.id: pack for pack in live}
        self._were_in, self._needs = were_in, needs
        self.given: dict[str, list[str]] = {}

    def fill(self, trials: Sequence[str], size: int | None) -> list[str]:
        """Give trials to packs of fewer than ``size`` trials, or of any size if that is None; return those left."""
        left = []
        for trial in trials:
            pack = min(self._open_to(trial, size), key=lambda pack: (len(pack.trials), pack.id), default=None)
            if pack is None:
                left.append(trial)
                continue
            self.given.setdefault(pack.id, []).append(trial)
            self._packs[pack.id] = replace(pack, trials=pack.trials | {trial}, given=pack.given + 1)
        return left

    def _open_to(self, trial: str, size: int | None) -> list[LivePack]:
        before = self._were_in.get(trial, set())
        return [
            pack
            for pack in self._packs.values()
            if pack.id not in before and pack.free(self._needs) and (size is None or len(pack.trials) < size)
        ]


def to_merge(live: Sequence[LivePack], needs: ResourcesSpec) -> tuple[LivePack, LivePack] | None:
    """Return two packs of a sweep that are both at most half full and fit together into one; None if there are none.

    Args:
        live: The packs whose runners train.
        needs: The resources of a pack of the sweep.

    Returns:
        The pack that is to be left, which has fewer trials, and the one to which its trials go.
    """
    for one, other in combinations(sorted(live, key=lambda pack: (len(pack.trials), pack.id)), 2):
        limit = other.limit(needs)
        alike = one.spec.shape_key == other.spec.shape_key and not one.suspect
        half = one.trials and 2 * len(other.trials) <= limit
        if alike and half and len(one.trials) <= other.free(needs):
            return one, other
    return None

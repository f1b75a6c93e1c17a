"""The estimate for a sweep: its packs, how long it takes, the device-hours and the memory, each with its reason."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean
from typing import Any

from service.estimates.early_ends import EarlyEnds
from service.estimates.pack_costs import ERRORS, Basis, PackCosts, PackProfile
from service.estimates.pack_schedule import PackLoad, Schedule, planned_packs, schedule
from service.estimates.pack_seconds import PackSeconds, seconds_of
from service.estimates.peak_memory import peak_memory
from workers.spec.cost import MeasuredCost
from workers.spec.resources import ResourcesSpec
from workers.spec.samplers import SAMPLERS
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec

SERVICE_SECONDS = 1.0
"""Between the submit and the first pack, and between the end of the last one and the sweep's: about two ticks."""
DRAWS = 50
"""So many times is drawn how well the packs of a sweep do that a rule ends early; the mean counts."""
MOST_DRAWN = 5_000
"""Of so many packs that the draws have together: a sweep of many packs needs fewer draws."""
MOST_CALIBRATED = 6
"""So many packs are measured at the most, each of another shape; the others are scaled from these."""


def workers_of(needs: ResourcesSpec, nodes: Sequence[tuple[float, float]]) -> int:
    """Return how many packs run at the same time on nodes with so many CPUs and GPUs, while nothing else does."""
    return sum(
        int(min(cpus // needs.cpus, gpus // needs.gpus if needs.gpus else cpus // needs.cpus)) for cpus, gpus in nodes
    )


def concurrent_trials(spec: SweepSpec) -> int | None:
    """Return how many trials of a sweep run at once at the most, because its sampler learns; None for no bound."""
    sampler = SAMPLERS[spec.search.sampler]
    concurrent = sampler.Options.model_validate(spec.search.options).model_dump().get("concurrent")
    return int(concurrent) * spec.repeats if sampler.learns and concurrent is not None else None


@dataclass(frozen=True)
class Estimator:
    """Makes the estimate for a sweep.

    Attributes:
        spec: The sweep.
        trials: All of its trials, as they are proposed before any result is known.
        nodes: The CPUs and GPUs of each node; empty if they are not known.
        measured: What was measured of packs on GPUs, or of packs on CPUs, whichever the sweep needs.
    """

    spec: SweepSpec
    trials: Sequence[TrialSpec]
    nodes: Sequence[tuple[float, float]]
    measured: Sequence[MeasuredCost]

    @cached_property
    def costs(self) -> PackCosts:
        """What packs cost here."""
        return PackCosts(self.measured, self.spec.resources.cpus)

    @cached_property
    def workers(self) -> int:
        """How many packs run at the same time; 1 if that is not known."""
        return max(1, workers_of(self.spec.resources, self.nodes))

    @cached_property
    def packs(self) -> list[list[TrialSpec]]:
        """The packs in the order in which they begin."""
        needs = self.spec.resources

        def length(positions: Sequence[int]) -> float:
            pack = [self.trials[position] for position in positions]
            found = self._seconds(pack)
            return found.expected if found else PackProfile.of(pack).work * pack[0].training.steps

        positions = planned_packs(
            self.trials,
            needs.pack_size,
            self.workers,
            needs.gpus,
            length,
            concurrent_trials(self.spec),
            self.spec.repeats,
            self.spec.max_parallel,
        )
        return [[self.trials[position] for position in pack] for pack in positions]

    @property
    def at_once(self) -> int:
        """How many packs run at the same time, at the most."""
        return min(self.workers, len(self.packs))

    def to_calibrate(self) -> list[list[TrialSpec]]:
        """Return the packs of which no run is known, at most ``MOST_CALIBRATED``, those with the most work first.

        The largest pack of each shape comes before the others of the shape. If there are more shapes, they are spread
        from the one with the most work to the one with the least.
        """
        shapes: dict[str, dict[tuple[int, float], list[TrialSpec]]] = {}
        for pack in self.packs:
            found = PackProfile.of(pack)
            if self.costs.basis_of(found) != "runs":
                shapes.setdefault(found.shape, {})[found.trials, float(f"{found.work:.2g}")] = pack
        ordered = [sorted(of_shape.values(), key=_negative_work) for of_shape in shapes.values()]
        largest = sorted((packs[0] for packs in ordered), key=_negative_work)
        if len(largest) > MOST_CALIBRATED:
            last = len(largest) - 1
            return [largest[round(i * last / (MOST_CALIBRATED - 1))] for i in range(MOST_CALIBRATED)]
        others = sorted((pack for packs in ordered for pack in packs[1:]), key=_negative_work)
        return [*largest, *others][:MOST_CALIBRATED]

    def estimate(self, notes: Sequence[str] = ()) -> dict[str, Any]:
        """Return the fields of an ``Estimate``.

        Args:
            notes: What else has to be said about how step times were measured.
        """
        distinct = {PackProfile.of(pack): pack for pack in self.packs}
        memory = peak_memory(list(distinct.values()), self.costs.own)
        found = [self._seconds(pack) for pack in self.packs]
        reasons = [*self._plan_reasons(), {"about": "peak_memory_bytes", "reason": memory.reason}]
        shown: dict[str, Any] = {
            "packs": len(self.packs),
            "workers": self.workers,
            "seconds": None,
            "device_hours": None,
            "peak_memory_bytes": memory.main,
            "gpu_memory_bytes": memory.gpu,
        }
        known = [seconds for seconds in found if seconds is not None]
        if len(known) == len(found):
            shown["seconds"], shown["device_hours"], starts = self._totals(known)
            reasons += self._time_reasons(known, starts)
        else:
            reasons.append({"about": "seconds", "reason": self._why_unknown(found)})
        reasons += [{"about": "seconds", "reason": note} for note in notes]
        return shown | {"reasons": reasons}

    def _seconds(self, pack: Sequence[TrialSpec]) -> PackSeconds | None:
        return seconds_of(pack, self.costs, self._ends)

    @cached_property
    def _ends(self) -> EarlyEnds:
        return EarlyEnds(self.spec, len(self.trials) // self.spec.repeats)

    def _totals(self, known: Sequence[PackSeconds]) -> tuple[dict[str, float], dict[str, float], int]:
        """Return the seconds and the device-hours of the sweep, and how many of its packs begin in a new process."""
        (start, start_basis, _), needs = self.costs.start, self.spec.resources
        sizes, shapes = [len(pack) for pack in self.packs], [pack[0].shape_key for pack in self.packs]
        unforeseen = self._ends.possible and not self._ends.foreseen
        # how well the best trial of a pack does decides when the pack ends, and the last pack when the sweep does
        draws = _places(sizes) if self._ends.foreseen else [[0.0] * len(known)]

        def low(pack: PackSeconds, place: float) -> float:
            return (pack.least if unforeseen else pack.at(place)) / (1 + ERRORS[pack.basis])

        def schedules(cases: Sequence[Sequence[float]], start: float) -> list[Schedule]:
            loads = [list(map(PackLoad, lengths, sizes, shapes)) for lengths in cases]
            return [schedule(packs, self.workers, start, (), self.spec.max_parallel) for packs in loads]

        def wall(found: Sequence[Schedule]) -> float:
            return round(mean(one.end for one in found) + SERVICE_SECONDS, 1)

        drawn = [list(zip(known, places, strict=True)) for places in draws]
        expected = [[pack.at(place) for pack, place in case] for case in drawn]
        lowest = [[low(pack, place) for pack, place in case] for case in drawn]
        highest = [max(pack.every_step, pack.at(0.0)) * (1 + ERRORS[pack.basis]) for pack in known]
        planned = schedules(expected, start)
        seconds = {
            "expected": wall(planned),
            "low": wall(schedules(lowest, start / (1 + ERRORS[start_basis]))),
            "high": wall(schedules([highest], start * (1 + ERRORS[start_basis]))),
        }
        hours = mean(sum(lengths) + one.starts * start for lengths, one in zip(expected, planned, strict=True)) / 3600
        starts = max(one.starts for one in planned)
        return seconds, {"cpu": hours * needs.cpus, "gpu": hours * needs.gpus}, starts

    def _plan_reasons(self) -> list[dict[str, str]]:
        spec, count = self.spec, len(self.trials)
        sizes = Counter(map(len, self.packs))
        shapes = len({pack[0].shape_key for pack in self.packs})
        listed = ", ".join(f"{n} of {_counted(size, 'trial')}" for size, n in sorted(sizes.items(), reverse=True)[:6])
        many = ", ..." if len(sizes) > 6 else ""
        size = "as many as pay" if spec.resources.pack_size == "auto" else f"at most {spec.resources.pack_size}"
        source = (
            "points of the grid" if spec.search.trials is None else f"search.trials, drawn by {spec.search.sampler}"
        )
        if self.nodes:
            held = f"the cluster has room for {_counted(self.workers, 'pack')} at a time, if nothing else runs"
        else:
            held = "the nodes of the cluster are not known now, so one worker is assumed"
        seeds = f", each with {spec.repeats} seeds" if spec.repeats > 1 else ""
        concurrent = concurrent_trials(spec)
        waits = f"; the sampler lets at most {concurrent} trials run at a time" if concurrent else ""
        most = spec.max_parallel
        waits += f"; max_parallel lets at most {_counted(most, 'trial')} run at a time" if most else ""
        return [
            {"about": "trials", "reason": f"{count // spec.repeats} {source}{seeds}"},
            {"about": "packs", "reason": f"{listed}{many}: {_counted(shapes, 'shape')}, {size} in a pack{waits}"},
            {"about": "workers", "reason": held},
        ]

    def _time_reasons(self, known: Sequence[PackSeconds], starts: int) -> list[dict[str, str]]:
        start, basis, packs = self.costs.start
        bases = Counter(pack.basis for pack in known)
        texts = [f"{_counted(bases[one], 'pack')} {self._words(one)}" for one in ERRORS if bases[one]]
        device = f" ({self.costs.device})" if self.costs.device else ""
        begin = {
            "runs": f"the median of the last {_counted(packs, 'pack')} here",
            "calibration": "as in a short trial run, and what Ray adds",
        }.get(basis, "assumed, because no pack has run here yet")
        which = "each pack"
        if starts < len(known):
            processes = "process" if starts == 1 else "processes"
            which = f"{_counted(starts, 'pack')} (the others go on in the {processes} of those that have ended)"
        reasons = [
            f"step times{device}: {'; '.join(texts)}",
            f"{start:.1f} s for the start of {which}: {begin}",
        ]
        kind, reduction = self.spec.early_stopping.kind, self.spec.early_stopping.reduction or 3
        if self._ends.foreseen:
            reasons.append(
                f"{kind} is expected to let one trial in {reduction} go on at each rung; high: no trial is ended"
            )
        elif self._ends.possible:
            what = kind if kind != "none" else "training.target"
            reasons.append(
                f"how early {what} ends trials depends on their results: expected and high count every step, low "
                "the fewest"
            )
        needs = self.spec.resources
        gpus = f" and {_counted(needs.gpus, 'GPU')}" if needs.gpus else ""
        hours = f"the time of all packs together, with their starts, times its {_counted(needs.cpus, 'CPU')}"
        return [
            *({"about": "seconds", "reason": reason} for reason in reasons),
            {"about": "device_hours", "reason": hours + gpus},
        ]

    def _words(self, basis: Basis) -> str:
        count = self.costs.compared
        why = f"as {_counted(count, 'pack')} took here afterwards" if count else "as the service works beside them"
        slower = f", times {self.costs.slowdown:.2f}, {why}" if self.costs.slowdown != 1 else ""
        return {
            "runs": "as in earlier runs of packs like them",
            "calibration": f"as in a short trial run of packs like them{slower}",
            "scaled": "scaled by their multiply-adds from the nearest pack that was measured",
            "unknown": "unknown",
        }[basis]

    def _why_unknown(self, found: Sequence[PackSeconds | None]) -> str:
        kinds = sorted({pack[0].model.kind for pack, one in zip(self.packs, found, strict=True) if one is None})
        where = "a GPU" if self.spec.resources.gpus else "a CPU"
        return (
            f"no network of kind {' or '.join(kinds)} was trained on {where} here yet; a calibration "
            "(calibrate=true, spectral submit --dry-run) or a first sweep gives the time of a step"
        )


def _places(sizes: Sequence[int]) -> list[list[float]]:
    """Return several draws of the places that the best trials of packs have among each other, from 0 to below 1.

    A place is the share of all trials that are in packs whose best trials are better, so one pack has place 0 in each
    draw: some trial is the best of all, and is never ended. The best trial is in any pack as often as the pack has
    trials. The draws are the same each time.

    Args:
        sizes: The number of trials of each pack.
    """
    draw, total, found = random.Random(len(sizes)), sum(sizes), []
    for _ in range(max(1, min(DRAWS, MOST_DRAWN // max(1, len(sizes))))):
        keys = [draw.random() ** (1.0 / size) for size in sizes]
        places, before = [0.0] * len(sizes), 0
        for pack in sorted(range(len(sizes)), key=keys.__getitem__, reverse=True):
            places[pack], before = before / total, before + sizes[pack]
        found.append(places)
    return found


def _negative_work(pack: Sequence[TrialSpec]) -> float:
    return -PackProfile.of(pack).work


def _counted(count: float, noun: str) -> str:
    return f"{count:g} {noun}" + ("" if count == 1 else "s")

"""A schedule: which sweep is disturbed by what and when. It follows from its seed alone."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import Any

from tests.faults.documents import DOCUMENTS
from tests.faults.faults import FAULTS, PAIRED, Fault
from tests.faults.oracle import Allowed, Verb

VERB_CHANCE, PAIR_CHANCE = 0.3, 0.2


@dataclass(frozen=True)
class Schedule:
    """One sweep with its faults.

    Attributes:
        seed: What everything else follows from; it also decides how long a fault lasts.
        document: The name of the sweep's document.
        verb: What the user does to the sweep at its first report, just before the fault; None for nothing.
        moment: When the first fault begins.
        faults: The faults; a second one follows the first at once.
    """

    seed: int
    document: str
    verb: Verb | None
    moment: str
    faults: tuple[str, ...]

    @property
    def chance(self) -> random.Random:
        """The random numbers of the faults themselves, always the same ones from the beginning."""
        return random.Random(f"{self.seed} faults")

    def allowed(self, *, accepted: bool) -> Allowed:
        """Return what the faults may do to the sweep; ``accepted`` says whether the service accepted the verb."""
        found = [FAULTS[name] for name in self.faults]
        return Allowed(
            self.verb if accepted else None,
            charges=sum(fault.charges for fault in found),
            spares_runners=all(fault.spares_runners for fault in found),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the fields as a JSON object."""
        return asdict(self)

    def __str__(self) -> str:
        verb = f", {self.verb} accepted" if self.verb else ""
        return f"seed {self.seed}: {' + '.join(self.faults)} ({self.moment}{verb}; sweep {self.document})"


def draw(seed: int, names: tuple[str, ...] = tuple(FAULTS)) -> Schedule:
    """Return the schedule of a seed. Seeds in a row go through all faults in turn.

    Args:
        seed: Any number.
        names: The faults to choose from.
    """
    chance = random.Random(seed)
    first = names[seed % len(names)]
    fault: Fault = FAULTS[first]
    faults: tuple[str, ...] = (first,)
    if len(names) > 1 and chance.random() < PAIR_CHANCE:
        faults += (chance.choice([name for name in PAIRED if name != first]),)
    verb: Verb | None = None
    moment = chance.choice(fault.moments)
    if "at once" in fault.moments and chance.random() < VERB_CHANCE:
        verb, moment = chance.choice(("pause", "stop", "cancel")), "at once"
    return Schedule(seed, chance.choice(list(DOCUMENTS)), verb, moment, faults)

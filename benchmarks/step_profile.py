"""Profile of a packed training step: the time of each part without the parts that run inside it."""

from __future__ import annotations

import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from benchmarks import timing
from spectral import transition
from spectral.recurrence import native
from workers.training import pack as pack_module
from workers.training.pack import TrainingPack

REPEATS = 5


class Stopwatch:
    """Adds up CPU seconds of this thread by label; the time of a part stops while another part runs inside it."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = 0.0

    def enter(self, label: str) -> None:
        """Start the time of a part."""
        self._charge()
        self._running.append(label)

    def leave(self) -> None:
        """Stop the time of the part that started last."""
        self._charge()
        self._running.pop()

    def _charge(self) -> None:
        now = time.thread_time()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now

    @contextmanager
    def wrap(self, owner: Any, name: str, label: str | Callable[..., str]) -> Iterator[None]:
        """Time every call of ``owner.name`` under ``label``, or under what ``label`` returns for its arguments."""
        before = owner.__dict__.get(name, getattr(owner, name))
        call = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            self.enter(label if isinstance(label, str) else label(*arguments))
            try:
                return call(*arguments, **named)
            finally:
                self.leave()

        own = name in vars(owner)
        setattr(owner, name, staticmethod(timed) if isinstance(before, staticmethod) else timed)
        try:
            yield
        finally:
            if own:
                setattr(owner, name, before)
            else:
                delattr(owner, name)


def show(title: str, packs: Mapping[str, Sequence[TrainingPack]]) -> None:
    """Print a table with milliseconds per trial and step: a row for each part, a column for each size of pack."""
    profiles = {name: profile(group) for name, group in packs.items()}
    columns = {name: found for name, (found, _) in profiles.items()}
    largest = {label: max(c.get(label, 0.0) for c in columns.values()) for found in columns.values() for label in found}
    labels = sorted(largest, key=lambda label: -largest[label])
    print(f"\nCPU ms a trial and step, {title}")
    print(f"{'':34}" + "".join(f"{name:>10}" for name in columns))
    for label in [*labels, "together"]:
        cells = (sum(c.values()) if label == "together" else c.get(label, 0.0) for c in columns.values())
        print(f"{label:34}" + "".join(f"{1e3 * cell:10.3f}" for cell in cells))
    print(f"{'page faults':34}" + "".join(f"{faults:10.0f}" for _, faults in profiles.values()))


def profile(packs: Sequence[TrainingPack]) -> tuple[dict[str, float], float]:
    """Return the seconds per trial and step by part, over all packs, and the page faults per trial and step."""
    watch, trials, faults = Stopwatch(), 0, 0
    with timing.threads(1):
        for pack in packs:
            pack.step(probe=False)
            trials += pack._model.trials
            with ExitStack() as stack:
                for owner, name, label in _parts(pack):
                    if hasattr(owner, name):
                        stack.enter_context(watch.wrap(owner, name, label))
                before = _page_faults()
                for _ in range(REPEATS):
                    pack.step(probe=False)
                faults += _page_faults() - before
    found = {label: seconds / (REPEATS * trials) for label, seconds in watch.seconds.items()}
    return found, faults / (REPEATS * trials)


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _parts(pack: TrainingPack) -> list[tuple[Any, str, str | Callable[..., str]]]:
    return [
        (pack, "step", "step, the rest"),
        (pack._data, "batch", "batches"),
        (pack._model, "_read", "forward, the rest"),
        (pack._model, "read_out", "readout"),
        (pack_module, "losses", "loss"),
        (torch.autograd, "grad", "autograd, the rest"),
        (pack._optimizer, "step", "Adam and clipping"),
        (pack._model, "after_step", "reflectors to length 1"),
        (pack, "_record", "records of loss and norm"),
        (native, "_call", lambda back, *_: "native loop, backward" if back else "native loop, forward"),
        (native.FORWARD, "run", "native, around the loop, forward"),
        (native.BACKWARD, "run", "native, around the loop, backward"),
        (transition.FACTORS, "run", "transition, forward"),
        (transition.FACTORS_BACKWARD, "run", "transition, backward"),
    ]

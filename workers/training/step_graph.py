"""A training step as a CUDA graph: captured once, and then replayed with one launch.

A step of a small network is some dozens of short kernels, and launching them one by one takes longer than running
them. A graph launches them all at once. It reads and writes the same memory at each replay, so everything that
changes from step to step must be in tensors that stay in one place.

Capturing runs nothing. The first steps, which a capture needs as a warm-up (kernels are compiled, libraries make their
handles), are ordinary steps of the training, so the numbers of a trial are the same with and without a graph.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from workers.errors import is_out_of_memory

log = logging.getLogger(__name__)

PACE = 16
"""The host is at most twice so many steps ahead of the device."""

TrainingStep = Callable[[bool], None]
"""A training step. Its argument says whether the step is probed."""


class StepGraph:
    """Runs the steps of one pack: eagerly at first, then as a graph, or eagerly for ever where that is impossible.

    Steps that are probed and those that are not have two graphs, which share their memory: they never run at once, and
    no result of a step stays in that memory.

    Args:
        device: The device of the pack.
        wanted: Whether to capture at all.
    """

    def __init__(self, device: torch.device, *, wanted: bool) -> None:
        self._device = device
        self._wanted = wanted and device.type == "cuda"
        self._done = 0
        event = partial(torch.cuda.Event, blocking=True)
        self._events = [event(), event()] if device.type == "cuda" else []
        self._graphs: dict[bool, torch.cuda.CUDAGraph] = {}
        self._pool: Any = None

    @property
    def captured(self) -> bool:
        """Whether steps are replayed now."""
        return bool(self._graphs)

    def run(self, step: TrainingStep, rehearse: Callable[[], object], *, probe: bool) -> None:
        """Do a step.

        Args:
            step: The step, the same one at each call.
            rehearse: Does what a probed step does before it changes anything; see ``_check``.
            probe: Whether the step is probed.
        """
        if self._events and self._done % PACE == 0:
            # The host would be ready with thousands of steps at once, and could not stop in between.
            event = self._events[self._done // PACE % 2]
            event.synchronize()
            event.record()
        self._done += 1
        if not self._wanted or self._done == 1:
            step(probe)
        elif self._graphs.get(probe) is not None or self._capture(step, rehearse, probe):
            self._graphs[probe].replay()
        else:
            step(probe)

    def release(self) -> None:
        """Free the memory of the graphs. They are captured again by the next steps."""
        if self._graphs:
            torch.cuda.synchronize(self._device)
        for graph in self._graphs.values():
            graph.reset()
        self._graphs, self._pool = {}, None

    def _capture(self, step: TrainingStep, rehearse: Callable[[], object], probe: bool) -> bool:
        """Capture a step, and return whether that succeeded; if not, say why and capture no more."""
        try:
            if not self._graphs:
                self._check(rehearse)
            self._graphs[probe] = self._captured(step, probe)
        except Exception as error:
            # A network that cannot be captured is trained all the same. Running out of memory is no such reason: the
            # step would need as much without a graph.
            self.release()
            if is_out_of_memory(error):
                raise
            self._wanted = False
            log.warning(
                "the training step is not captured as a CUDA graph and runs kernel by kernel: %s",
                str(error).strip().partition("\n")[0] or type(error).__name__,
            )
            return False
        return True

    def _check(self, rehearse: Callable[[], object]) -> None:
        """Raise if a step makes the host wait for the device, which a capture cannot do.

        A capture that fails leaves torch's allocator in a state from which it hardly recovers, so this is found out
        before.
        """
        mode = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns that this mode is a prototype
            torch.cuda.set_sync_debug_mode("error")
        try:
            rehearse()
        finally:
            torch.cuda.set_sync_debug_mode(mode)

    def _captured(self, step: TrainingStep, probe: bool) -> torch.cuda.CUDAGraph:
        graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._device)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()  # what the eager steps have left is not available to a graph
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        torch.cuda.set_stream(stream)
        try:
            # Other threads may go on with CUDA: those that prepare batches, and those of other packs.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                step(probe)
            except BaseException:
                self._abandon(graph)
                raise
            graph.capture_end()
        finally:
            torch.cuda.set_stream(before)
        return graph

    def _abandon(self, graph: torch.cuda.CUDAGraph) -> None:
        """End a capture in which an exception was raised."""
        try:
            graph.capture_end()
        except RuntimeError:
            # An invalid capture ends before the allocator is told; see CUDAGraph::capture_end.
            index = torch.cuda.current_device() if self._device.index is None else self._device.index
            torch._C._cuda_endAllocateToPool(index, self._pool)

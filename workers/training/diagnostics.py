"""What the trainer notes beside losses: gradients over time, the spectrum, how much of the state is in use.

A trial takes them when they are ``due`` and at its last report, off the training's own graph: they change no
parameter and draw nothing at random. Names, all for one trial:

``grad_t/00`` to ``grad_t/15``   |dL/dh_t| at 16 points from h_0 to h_T, all layers together
``spectral/min``, ``max``        singular values of the transitions
``spectral/orthogonality``       max |Q^T Q - I| of U and V
``spectral_hist/0`` to ``9``     share of the singular values in each tenth of the band sigma* +- r
``state/rank``                   effective rank of the final state (B, H): exp of the entropy of its singular values'
                                 shares (Roy and Vetterli 2007)
``state/saturated``              share of final units where the nonlinearity is flat: its derivative is 0 (leaky_relu:
                                 its small one), or |h| > 0.99 where it is tanh
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from spectral import Transition
from workers.models import PackedModel
from workers.models.recurrent import last_of
from workers.spec.trial import TrialSpec
from workers.tasks import Task
from workers.training import probe_points
from workers.training.batches import Batch
from workers.training.metrics import losses

log = logging.getLogger(__name__)

BINS = 10
STATE_ROWS = 128
"""Most sequences whose final states are looked at."""
SMALL = 2**20
"""States of a step (T x B x n) below which a look costs up to five steps of training, above it about one: measured."""
INTERVAL, INTERVAL_OF_SMALL = 100, 250
SATURATED = 0.99
FLAT: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": lambda h: h.abs() > SATURATED,
    "relu": lambda h: h == 0,
    "modrelu": lambda h: h == 0,
    "leaky_relu": lambda h: h < 0,
}
"""Where a nonlinearity has come to its flat part, read off its output."""

Measures = dict[str, Tensor]


class Last(NamedTuple):
    """What the last training step left: the batch it went on from next, h_0 there, and the top layer's last states."""

    batch: Batch
    h0: Tensor
    top: Tensor


def due(spec: TrialSpec, step: int) -> bool:
    """Whether the report at ``step`` is the first at or after a multiple of ``training.diagnose_every``."""
    training, model = spec.training, spec.model
    states = spec.depth * training.batch_size * model.hidden_size
    every = training.diagnose_every or (INTERVAL_OF_SMALL if states < SMALL else INTERVAL)
    return step // every > (step - training.report_interval) // every


def observe(task: Task, model: PackedModel, specs: Sequence[TrialSpec], last: Last) -> list[dict[str, float]]:
    """The diagnostics of every row, those that are finite. What cannot be computed is left out and logged."""
    parts: list[Callable[[], Measures]] = [
        lambda: _spectrum(model.transitions(), specs),
        lambda: _state(last.top[:, :STATE_ROWS], specs[0].model.nonlinearity),
    ]
    if specs[0].model.recurrent:
        parts.append(lambda: gradients(task, model, last.batch, last.h0))
    found: Measures = {}
    for part in parts:
        try:
            found |= part()
        except Exception:  # a trial must never end for what only looks at it
            log.warning("diagnostics left out at this report", exc_info=True)
    if not found:
        return [{} for _ in specs]
    rows: list[list[float]] = torch.stack([value.double() for value in found.values()], 1).tolist()
    whole = [dict(zip(found, row, strict=True)) for row in rows]
    return [{name: value for name, value in row.items() if abs(value) < float("inf")} for row in whole]


def gradients(task: Task, model: PackedModel, batch: Batch, h0: Tensor) -> Measures:
    """|dL/dh_t| over 16 points of time, each (K,): along the recurrence and, with readout "every", from the outputs.

    The loss is the mean over the first few sequences of the batch, and norms are scaled to what the whole batch would
    give if the others were like them.
    """
    count = batch.inputs.shape[1]
    rows = probe_points.rows(count)
    inputs, targets = batch.inputs[:, :rows], batch.targets[:, :rows]
    lengths = None if batch.lengths is None else batch.lengths[:, :rows]
    every = task.readout == "every"
    with _constant(model.parameters):
        states, reads = _in_segments(model, inputs, h0[:, :, :rows].detach(), lengths, every=every)
        read = torch.cat(reads, 2) if every else model.top(states[-1])
        loss = losses(task, model.read_out(read).to(h0.dtype), targets).sum()
        if every:
            *along, direct = torch.autograd.grad(loss, [*states[:-1], read])
        else:
            along, direct = list(torch.autograd.grad(loss, states)), None
    along = [g[..., : model.hidden_size] for g in along]
    if direct is not None:
        _add_outputs(along, direct, probe_points.cuts(inputs.shape[2]), lengths)
    scale = (rows / count) ** 0.5
    norms = [g.flatten(1).double().square().sum(1).sqrt() * scale for g in along]
    return {f"grad_t/{i:02d}": norm for i, norm in enumerate(norms)}


def _in_segments(
    model: PackedModel, inputs: Tensor, h0: Tensor, lengths: Tensor | None, *, every: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """The recurrence cut at the points: the states there, (K, L, B, S), each a part of the graph of all after it, and
    what the head reads of each segment."""
    states, reads = [h0.requires_grad_()], []
    for start, stop in pairwise(probe_points.cuts(inputs.shape[2])):
        own = None if lengths is None else (lengths - start).clamp(1, stop - start)
        read, after = model.read(inputs[:, :, start:stop], states[-1], own, every=every)
        if lengths is not None:  # those that have ended stay where they ended
            after = torch.where((lengths > start)[:, None, :, None], after, states[-1])
        states.append(after)
        reads.append(read)
    return states, reads


def _add_outputs(along: list[Tensor], direct: Tensor, cuts: list[int], lengths: Tensor | None) -> None:
    """Add what reaches the top layer's h from the output at the same step, direct (K, B, T, H), and at the end that
    alone."""
    for i, cut in enumerate(cuts[1:-1], 1):
        along[i] = torch.cat([along[i][:, :-1], along[i][:, -1:] + direct[:, :, cut - 1].unsqueeze(1)], 1)
    along.append(last_of(direct, lengths).unsqueeze(1))


def _spectrum(transitions: Sequence[Transition], specs: Sequence[TrialSpec]) -> Measures:
    if not transitions:
        return {}
    with torch.no_grad():
        values = torch.cat([t.sigma.flatten(1) for t in transitions], 1)
        errors = [t.orthogonality_error().reshape(len(values), -1).amax(1) for t in transitions]
        found = {"spectral/min": values.amin(1), "spectral/max": values.amax(1)}
        found["spectral/orthogonality"] = torch.stack(errors).amax(0)
        if specs[0].model.spectral:
            low, width = (values.new_tensor(own).unsqueeze(1) for own in zip(*map(_band, specs), strict=True))
            bins = ((values - low) / width * BINS).long().clamp(0, BINS - 1)
            shares = torch.nn.functional.one_hot(bins, BINS).double().mean(1)
            found |= {f"spectral_hist/{i}": shares[:, i] for i in range(BINS)}
    return found


def _band(spec: TrialSpec) -> tuple[float, float]:
    """Lower end and width."""
    centre, margin = spec.model.band_centre, spec.model.band_margin
    return centre - margin, 2 * margin


@torch.no_grad()
def _state(top: Tensor, nonlinearity: str) -> Measures:
    """top: (K, B, H). A row that has failed is taken as zeros, since an SVD of NaN fails for the whole pack."""
    shares = torch.linalg.svdvals(top.double().nan_to_num(0.0, 0.0, 0.0))
    shares = shares / shares.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    found = {"state/rank": torch.special.entr(shares).sum(1).exp()}
    if nonlinearity in FLAT:
        found["state/saturated"] = FLAT[nonlinearity](top).double().mean((1, 2))
    return found


@contextmanager
def _constant(parameters: Mapping[str, Tensor]) -> Iterator[None]:
    """Without gradients for the parameters."""
    for p in parameters.values():
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters.values():
            p.requires_grad_(True)

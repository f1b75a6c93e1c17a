"""Diagnostics of every trial: gradients over time, the spectrum, and how much of the hidden state is in use.

They are measured at some reports (see ``is_due``) and at a trial's last one, apart from the graph of training: they
change no parameter and use no random numbers. The names of a trial's diagnostics:

``grad_t/00`` to ``grad_t/15``   |dL/dh_t| at 16 evenly spaced steps t from 0 to T, all layers together; of recurrent
                                 kinds alone, and fewer if T < 15
``spectral/min``, ``max``        least and greatest singular value of the transitions, of kinds with reflectors
``spectral/orthogonality``       max |Q^T Q - I| of U and V, of kinds with reflectors
``spectral_hist/0`` to ``9``     share of the singular values in each tenth of the band sigma* +- r, of kinds with one
``state/rank``                   effective rank of the final state (B, H): exp of the entropy of its singular values'
                                 shares (Roy and Vetterli 2007)
``state/saturated``              share of final units where the nonlinearity is flat: its derivative is 0 (leaky_relu:
                                 its small one), or |h| > 0.99 where it is tanh; not measured for identity
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from spectral import Transition
from workers.models import PackedModel
from workers.spec.trial import TrialSpec
from workers.tasks import Task
from workers.training.batches import Batch
from workers.training.gradient_flow import gradient_norms

log = logging.getLogger(__name__)

BINS = 10
STATE_ROWS = 128
"""The largest number of sequences whose final states are measured."""
SMALL = 2**20
"""A trial is small if one step has fewer numbers than this in its states (T x B x n). Diagnostics then cost up to five
steps of training, and otherwise about one; measured."""
INTERVAL, INTERVAL_OF_SMALL = 100, 250
"""Optimiser steps between diagnostics by default, and those of small trials."""
SATURATED = 0.99
FLAT: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": lambda h: h.abs() > SATURATED,
    "relu": lambda h: h == 0,
    "modrelu": lambda h: h == 0,
    "leaky_relu": lambda h: h < 0,
}
"""Whether a nonlinearity is in its flat part, from its output."""

Measures = dict[str, Tensor]
"""Diagnostics by name, each of shape (K,)."""


class LastStep(NamedTuple):
    """The batch and the states on which diagnostics are measured between two training steps.

    Attributes:
        batch: The batches of the next step.
        h0: The states from which the next step starts, shape (K, L, B, S).
        top: The final states of the top layer at the last probed step, shape (K, B, H).
    """

    batch: Batch
    h0: Tensor
    top: Tensor


def is_due(spec: TrialSpec, step: int) -> bool:
    """Return whether the report at ``step`` is the first at or after a multiple of ``training.diagnose_every``."""
    every = interval(spec)
    return step // every > (step - spec.training.report_interval) // every


def interval(spec: TrialSpec) -> int:
    """Return the steps between two diagnoses: ``training.diagnose_every``, or the default for a step of this size."""
    states = spec.depth * spec.training.batch_size * spec.model.hidden_size
    return spec.training.diagnose_every or (INTERVAL_OF_SMALL if states < SMALL else INTERVAL)


def measure(task: Task, model: PackedModel, specs: Sequence[TrialSpec], last: LastStep) -> list[dict[str, float]]:
    """Return the diagnostics by name, one dict for each trial, without those that are not finite.

    If a group of them (spectrum, states, gradients) cannot be computed, that is logged and the group is left out.
    """
    parts: list[Callable[[], Measures]] = [
        lambda: _spectrum(model.transitions(), specs),
        lambda: _state(last.top[:, :STATE_ROWS], specs[0].model.nonlinearity),
    ]
    if specs[0].model.recurrent:
        parts.append(lambda: gradient_norms(task, model, last.batch, last.h0))
    found: Measures = {}
    for part in parts:
        try:
            found |= part()
        except Exception:  # a failure to measure must not end a trial
            log.warning("some diagnostics of this report could not be computed", exc_info=True)
    if not found:
        return [{} for _ in specs]
    # One copy to the host for all numbers of all trials.
    rows: list[list[float]] = torch.stack([value.double() for value in found.values()], 1).tolist()
    named = [dict(zip(found, row, strict=True)) for row in rows]
    return [{name: value for name, value in row.items() if abs(value) < float("inf")} for row in named]


def _spectrum(transitions: Sequence[Transition], specs: Sequence[TrialSpec]) -> Measures:
    """Return the diagnostics of the singular values and reflectors; none for kinds without reflectors."""
    if not transitions:
        return {}
    with torch.no_grad():
        values = torch.cat([t.sigma.flatten(1) for t in transitions], 1)
        errors = [_orthogonality_errors(t, specs) for t in transitions]
        found = {"spectral/min": values.amin(1), "spectral/max": values.amax(1)}
        found["spectral/orthogonality"] = torch.stack(errors).amax(0)
        if specs[0].model.spectral:
            low, width = (values.new_tensor(own).unsqueeze(1) for own in zip(*map(_band, specs), strict=True))
            bins = ((values - low) / width * BINS).long().clamp(0, BINS - 1)
            shares = torch.nn.functional.one_hot(bins, BINS).double().mean(1)
            found |= {f"spectral_hist/{i}": shares[:, i] for i in range(BINS)}
    return found


def _orthogonality_errors(transition: Transition, specs: Sequence[TrialSpec]) -> Tensor:
    """Return max |Q^T Q - I| of U and V of every trial, shape (K,).

    On a CPU each trial is measured without padding, so that its rounding does not depend on its pack.
    """
    if transition.u.device.type != "cpu":
        return transition.orthogonality_error().reshape(len(specs), -1).amax(1)
    errors = []
    for sigma, u, v, spec in zip(*transition, specs, strict=True):
        m1, m2 = spec.model.reflector_counts
        own = Transition(sigma, u[..., :m1].contiguous(), v[..., :m2].contiguous())
        errors.append(own.orthogonality_error().amax())
    return torch.stack(errors)


def _band(spec: TrialSpec) -> tuple[float, float]:
    """Return the lower end and the width of a trial's band."""
    centre, margin = spec.model.band_centre, spec.model.band_margin
    return centre - margin, 2 * margin


@torch.no_grad()
def _state(top: Tensor, nonlinearity: str) -> Measures:
    """Return the diagnostics of the final states ``top`` of the top layer, shape (K, B, H)."""
    # The states of a failed trial are taken as zeros, because an SVD of NaN raises for the whole pack.
    shares = torch.linalg.svdvals(top.double().nan_to_num(0.0, 0.0, 0.0))
    shares = shares / shares.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    found = {"state/rank": torch.special.entr(shares).sum(1).exp()}
    if nonlinearity in FLAT:
        found["state/saturated"] = FLAT[nonlinearity](top).double().mean((1, 2))
    return found

"""Layers of a recurrent net one upon another, over a whole sequence or over one segment of it at a time."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from spectral import packed_linear, sequences
from spectral.autocast import autocast_is_on, without_autocast
from spectral.recurrence import checkpoint
from spectral.recurrence.activation import Activation
from spectral.recurrence.backends import BACKENDS, FORMS, LAST_STATES, LAYERS, Cell, MatrixForm, cells_of, form_of
from spectral.recurrence.choice import resolve
from spectral.recurrence.shapes import check_checkpoint_every, check_stack
from spectral.transition import Transition

WIDEST_INPUT = 32
"""Features a step up to which the compiled loops form M x themselves; for more, one product beforehand is faster."""


def stack(
    x: Tensor,
    h0: Tensor,
    cells: Sequence[Cell],
    activation: Activation,
    *,
    lengths: Tensor | None = None,
    backend: str = "auto",
    checkpoint_every: int | None = None,
    keep_states: bool = True,
) -> tuple[Tensor | None, Tensor]:
    """Run layers one upon another over a sequence. All tensors have a leading K in a pack.

    Args:
        x: The input, shape (T, B, I), T >= 1.
        h0: The states before the first step, shape (L, B, n).
        cells: The L layers, from the lowest to the top; each has a Transition.
        activation: The nonlinearity of all layers.
        lengths: Shape (B,) or (K, B): the last state is the one after so many steps. None means T. That each lies in
            [1, T] is not checked here: another length gives h0 or an error of torch.
        backend: 'auto', or a name in BACKENDS.
        checkpoint_every: S >= 1: backward keeps only the states at every S-th step, and computes the others again, S
            steps at a time and all layers together. It changes nothing if T <= S.
        keep_states: Whether to return the top layer's states.

    Returns:
        The top layer's states, shape (T, B, n), or None without ``keep_states``; and the last state of every layer,
        shape (L, B, n).

    Raises:
        ShapeError: If a shape or a dtype does not fit the others, or if ``modrelu`` has no offset.
        OptionError: If the backend does not exist or cannot run here, or if an offset is given without ``modrelu``.
        RangeError: If ``checkpoint_every`` is below 1.
    """
    check_checkpoint_every(checkpoint_every)
    backends = [resolve(backend, x, cell, activation) for cell in cells]
    check_stack(x, h0, cells, activation)
    bfloat16 = autocast_is_on(x.device) and torch.get_autocast_dtype(x.device.type) == torch.bfloat16
    with without_autocast(x.device):
        # The parameters decide the dtype. Under autocast a half-precision x meets parameters in float32.
        transition = cells[0].matrix
        assert isinstance(transition, Transition)
        x, h0 = x.to(transition.sigma.dtype), h0.to(transition.sigma.dtype)
        # The form of W is made here, once, and not in each segment: it costs as much as several steps. Autograd then
        # sums the gradients of the segments with respect to this form, and goes back through it once.
        cells = [_in_form(cell, name) for cell, name in zip(cells, backends, strict=True)]
        tensors = [tensor for cell in cells for tensor in cell.tensors()]
        segmented = checkpoint_every is not None and x.shape[-3] > checkpoint_every
        # A backend may forget all states but the last only if nothing else reads them: not the caller, not a segment's
        # backward pass, not a sequence that ends earlier, and not the gradient.
        all_states = keep_states or segmented or lengths is not None or torch.is_grad_enabled()
        forms = tuple(form_of(cell.matrix) for cell in cells)
        layers = PreparedLayers(tuple(backends), forms, activation, bfloat16, all_states)
        if checkpoint_every is not None and segmented:
            ends = None if lengths is None else lengths.expand(*x.shape[:-3], x.shape[-2])
            run = layers.__call__
            return checkpoint.run(run, x, h0, tensors, checkpoint_every, lengths=ends, keep_states=keep_states)
        results = layers(x, h0, tensors)
    last = [last if lengths is None else sequences.last_state(states, lengths) for states, last in results]
    return results[-1][0] if keep_states else None, torch.stack(last, -3)


class PreparedLayers(NamedTuple):
    """Runs a stack of layers on tensors that are passed in; holds all else: backends, activation and so on.

    The tensors are arguments, so that a segment can be run again on detached copies of them. They are not attributes,
    since an autograd node that kept this object would keep the graph behind them alive.
    """

    backends: tuple[str, ...]
    forms: tuple[MatrixForm, ...]
    activation: Activation
    bfloat16: bool
    """Whether autocast to bfloat16 is on; the GPU kernel then stores states in it."""
    all_states: bool
    """Whether the top layer's states are read; the other layers' always are."""

    def __call__(self, x: Tensor, h0: Tensor, tensors: Sequence[Tensor | None], /) -> list[tuple[Tensor, Tensor]]:
        """Run all layers over x (..., S, B, I) from h0 (..., L, B, n).

        Args:
            x: The input of a segment, or of the whole sequence.
            h0: The states before it.
            tensors: ``Cell.tensors()`` of all cells, one after another.

        Returns:
            All states and the last state of each layer.
        """
        results: list[tuple[Tensor, Tensor]] = []
        for i, (name, cell) in enumerate(zip(self.backends, cells_of(tensors, self.forms), strict=True)):
            keep_states = self.all_states or i + 1 < len(self.backends)
            results.append(self._run(name, x, cell, h0[..., i, :, :], keep_states=keep_states))
            x = results[-1][0]
        return results

    def _run(self, name: str, x: Tensor, cell: Cell, h0: Tensor, *, keep_states: bool) -> tuple[Tensor, Tensor]:
        """Run one layer; without ``keep_states`` the first result is not read and may be anything."""
        weight, bias, matrix, offset = cell
        if weight is not None:  # the layer below may have stored its states in bfloat16
            x = x.to(weight.dtype)
        if weight is not None and not _takes_input(name, x):
            linear = torch.nn.functional.linear if x.dim() == 3 else packed_linear.linear_of_trials
            # The GPU kernel adds b itself: its gradient is then one of the sums that the backward pass forms anyway.
            own = bias if name == "triton" else None
            x, weight, bias = linear(x, weight, bias if own is None else None), None, own
        # The GPU kernel stores its states in the dtype of its input.
        x = x.to(torch.bfloat16) if self.bfloat16 and name == "triton" else x
        if name in LAST_STATES and not keep_states:
            last = LAST_STATES[name](x, weight, bias, h0, matrix, self.activation, offset)
            return last, last
        if name in LAYERS:
            return LAYERS[name](x, weight, bias, h0, matrix, self.activation, offset)
        states = BACKENDS[name](x, h0, matrix, self.activation, offset)
        return states, states[..., -1, :, :]


def _in_form(cell: Cell, backend: str) -> Cell:
    """Return the cell with its matrix in the form that the backend takes."""
    return cell._replace(matrix=FORMS[backend](cell.matrix)) if backend in FORMS else cell


def _takes_input(name: str, x: Tensor) -> bool:
    """Return whether the backend ``name`` forms M x + b from this x itself.

    The compiled loop does so only for few features, and not if x needs a gradient, which it does not compute.
    """
    if name == "cudnn":
        return True
    return name in LAYERS and x.shape[-1] <= WIDEST_INPUT and not x.requires_grad

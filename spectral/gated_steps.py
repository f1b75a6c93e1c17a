"""An LSTM or GRU as a loop of steps in torch, for sequences of different lengths where a PackedSequence cannot be made.

torch.compile and torch.export trace it: which steps of a sequence count is a mask, not a shape. The loop is unrolled in
the graph, as torch's own LSTM and GRU are.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spectral import sequences
from spectral.recurrent_input import States

Step = Callable[[Tensor, States, Sequence[Tensor]], States]
"""(W_ih x_t + b_ih, the states before, (W_hh, b_hh, and W_hr with a projection)) -> the states after, h first.

``b_hh`` is a tensor of zeros in a module without a bias. Each state is (B, width).
"""


class DirectionWeights(NamedTuple):
    """The weights of one layer in one direction."""

    weight_ih: Tensor
    """W_ih, shape (G n, I)."""
    bias_ih: Tensor | None
    """b_ih, shape (G n,), or None."""
    recurrent: tuple[Tensor, ...]
    """What a step reads beside its input: W_hh (G n, width), b_hh (G n,), and with a projection W_hr (width, n)."""


def layers_of(weights: Sequence[Tensor], layers: int, directions: int, *, bias: bool) -> list[list[DirectionWeights]]:
    """Return the directions of every layer, from the weights in the order in which torch's functions take them.

    Args:
        weights: For each layer and direction weight_ih, weight_hh, with a bias bias_ih and bias_hh, and with a
            projection weight_hr.
        layers: The number of layers.
        directions: 1 or 2.
        bias: Whether there are biases.
    """
    count = len(weights) // (layers * directions)
    every = [_direction(weights[start : start + count], bias) for start in range(0, len(weights), count)]
    return [every[start : start + directions] for start in range(0, len(every), directions)]


def run(
    step: Step,
    x: Tensor,
    states: States,
    layers: Sequence[Sequence[DirectionWeights]],
    lengths: Tensor,
    *,
    dropout: float,
) -> tuple[Tensor, States]:
    """Run all layers and directions over a padded batch.

    Args:
        step: One step of the cell.
        x: The input, shape (T, B, I).
        states: The states before the first step, each of shape (layers * directions, B, width).
        layers: The weights.
        lengths: How many steps of each sequence count, shape (B,). A sequence of length 0 keeps its first states, and
            one longer than T ends at T.
        dropout: The probability of dropout between layers; 0 in evaluation.

    Returns:
        The output, shape (T, B, directions * width), zero past the lengths; and the states after the last step that
        counts, in the shapes of ``states``.
    """
    valid = sequences.mask(lengths, x.shape[0])
    x = sequences.masked(x, valid)  # what stands past an end is not computed with, not even in backward
    lasts: list[States] = []
    for number, directions in enumerate(layers):
        if number > 0 and dropout > 0:
            x = nn.functional.dropout(x, dropout)
        outputs = []
        for direction, reverse in zip(directions, (False, True), strict=False):
            first = tuple(state[len(lasts)] for state in states)
            own = sequences.reverse(x, lengths) if reverse else x
            output, last = _run_direction(step, own, first, direction, valid)
            outputs.append(sequences.reverse(output, lengths) if reverse else output)
            lasts.append(last)
        x = torch.cat(outputs, -1)
    return x, tuple(torch.stack(kind) for kind in zip(*lasts, strict=True))


def _run_direction(
    step: Step, x: Tensor, states: States, direction: DirectionWeights, valid: Tensor
) -> tuple[Tensor, States]:
    """Return h after every step, zero where ``valid`` (T, B, 1) is false, and the last states of one direction."""
    z = nn.functional.linear(x, direction.weight_ih, direction.bias_ih)
    outputs = []
    for z_t, counts in zip(z.unbind(), valid.unbind(), strict=True):
        after = step(z_t, states, direction.recurrent)
        states = tuple(torch.where(counts, new, old) for new, old in zip(after, states, strict=True))
        outputs.append(sequences.masked(after[0], counts))
    return torch.stack(outputs), states


def _direction(weights: Sequence[Tensor], bias: bool) -> DirectionWeights:
    """Return one layer and direction from its weights in torch's order."""
    weight_ih, weight_hh, *rest = weights
    zero = weight_hh.new_zeros(weight_hh.shape[0])
    bias_ih, bias_hh = rest[:2] if bias else (None, zero)
    return DirectionWeights(weight_ih, bias_ih, (weight_hh, bias_hh, *rest[2 * int(bias) :]))

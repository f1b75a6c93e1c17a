"""Sequences of different lengths in one padded tensor, time major: (..., T, B, features) with lengths (..., B).

The recurrence is causal, so steps past a sequence's end cannot change the steps before it. They are computed and then
replaced by zeros, and they carry no gradient. All T steps of all B sequences are paid for, whatever the lengths are.
"""

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from spectral.errors import RangeError, ShapeError


def check_lengths(lengths: Tensor, steps: int, lead: tuple[int, ...], batch: int) -> Tensor:
    """Return ``lengths`` unchanged if they fit the input, and raise otherwise.

    Args:
        lengths: How many steps of each sequence count. Shape (B,), also in a pack, where it then holds for every trial;
            or (K, B).
        steps: T, the longest possible length.
        lead: () for a single trial, (K,) for a pack.
        batch: B.

    Raises:
        ShapeError: If the shape does not fit.
        RangeError: If the dtype is a floating-point one, or a length does not lie in [1, T].
    """
    if lengths.dim() < 1 or lengths.shape not in {(batch,), (*lead, batch)}:
        either = f" or {(*lead, batch)}" if lead else ""
        raise ShapeError(f"lengths must have shape {(batch,)}{either}; found {tuple(lengths.shape)}")
    if lengths.is_floating_point():
        raise RangeError(f"lengths must be integers, such as torch.int64; found {lengths.dtype}")
    if lengths.numel() and not (int(lengths.min()) >= 1 and int(lengths.max()) <= steps):
        raise RangeError(
            f"lengths must lie in [1, {steps}], the number of steps of the input; "
            f"found {int(lengths.min())} to {int(lengths.max())}"
        )
    return lengths


def mask(lengths: Tensor, steps: int) -> Tensor:
    """Return a mask (..., T, B, 1) that is true where step t < lengths[b]; ``steps`` is T."""
    time = torch.arange(steps, device=lengths.device).unsqueeze(-1)
    return (time < lengths.unsqueeze(-2)).unsqueeze(-1)


def reverse(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return x with each sequence's first ``lengths[b]`` steps in reverse order and the others where they are.

    With ``lengths`` None all T steps are reversed. Doing it twice restores x.
    """
    if lengths is None:
        return x.flip(-3)
    time = torch.arange(x.shape[-3], device=x.device).unsqueeze(-1)
    ends = lengths.unsqueeze(-2)
    index = torch.where(time < ends, ends - 1 - time, time).unsqueeze(-1)
    return x.gather(-3, index.expand(x.shape))


def last_state(states: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the state after step ``lengths[b]`` of each sequence b, (..., B, features).

    Args:
        states: All states, shape (..., T, B, features).
        lengths: Shape (..., B), with the leading dimensions of ``states``; None returns the states of step T. A length
            outside [1, T] is an error of ``gather``.
    """
    if lengths is None:
        return states[..., -1, :, :]
    index = (lengths - 1).unsqueeze(-2).unsqueeze(-1)
    shape = (*states.shape[:-3], 1, *states.shape[-2:])
    return states.gather(-3, index.expand(shape)).squeeze(-3)


def pad(packed: PackedSequence) -> tuple[Tensor, Tensor]:
    """Return the sequences padded with zeros, (T, B, features), and their lengths (B,), both in sorted order."""
    rows = torch.arange(int(packed.batch_sizes[0]))
    valid = (rows < packed.batch_sizes.unsqueeze(-1)).to(packed.data.device)
    padded = packed.data.new_zeros(*valid.shape, packed.data.shape[-1])
    return padded.masked_scatter(valid.unsqueeze(-1), packed.data), valid.sum(0)


def unpad(states: Tensor, lengths: Tensor, like: PackedSequence) -> PackedSequence:
    """Return padded states as a PackedSequence.

    Args:
        states: Shape (T, B, features), in the sorted order that ``pad`` returned.
        lengths: The lengths that ``pad`` returned, shape (B,).
        like: The PackedSequence given to ``pad``; its batch sizes and its order are taken over.
    """
    valid = mask(lengths, states.shape[-3]).squeeze(-1)
    return PackedSequence(states[valid], like.batch_sizes, like.sorted_indices, like.unsorted_indices)

"""Sequences of different lengths in one padded tensor, time major: (..., T, B, features) with lengths (..., B).

The recurrence is causal, so steps past a sequence's end cannot change the steps before it. They are computed and then
masked, and they carry no gradient. The cost is that of T B steps instead of the sum of the lengths.
"""

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from spectral.errors import RangeError, ShapeError


def check_lengths(lengths: Tensor, steps: int, lead: tuple[int, ...], batch: int) -> Tensor:
    """Return ``lengths`` if they fit the input.

    Args:
        lengths: Shape (B,), or (K, B) in a pack.
        steps: T, the longest possible length.
        lead: () for a single trial, (K,) for a pack.
        batch: B.

    Raises:
        ShapeError: If the shape does not fit.
        RangeError: If a length is not an integer in [1, T].
    """
    if lengths.dim() < 1 or lengths.shape not in {(batch,), (*lead, batch)}:
        raise ShapeError(f"lengths must have shape {(*lead, batch)} or {(batch,)}; found {tuple(lengths.shape)}")
    if lengths.is_floating_point():
        raise RangeError(f"lengths must be integers; found {lengths.dtype}")
    if lengths.numel() and not (int(lengths.min()) >= 1 and int(lengths.max()) <= steps):
        raise RangeError(f"lengths must lie in [1, {steps}]; found {int(lengths.min())} to {int(lengths.max())}")
    return lengths


def mask(lengths: Tensor, steps: int) -> Tensor:
    """Return a mask (..., T, B, 1) that is true where a step belongs to its sequence."""
    time = torch.arange(steps, device=lengths.device).unsqueeze(-1)
    return (time < lengths.unsqueeze(-2)).unsqueeze(-1)


def reverse(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return each sequence of x reversed within its length. Doing it twice restores x."""
    if lengths is None:
        return x.flip(-3)
    time = torch.arange(x.shape[-3], device=x.device).unsqueeze(-1)
    ends = lengths.unsqueeze(-2)
    index = torch.where(time < ends, ends - 1 - time, time).unsqueeze(-1)
    return x.gather(-3, index.expand(x.shape))


def last_state(states: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the state after each sequence's last step, (..., B, features); ``lengths`` None means T."""
    if lengths is None:
        return states[..., -1, :, :]
    index = (lengths - 1).unsqueeze(-2).unsqueeze(-1)
    shape = (*states.shape[:-3], 1, *states.shape[-2:])
    return states.gather(-3, index.expand(shape)).squeeze(-3)


def pad(packed: PackedSequence) -> tuple[Tensor, Tensor]:
    """Return the sequences padded with zeros, (T, B, features) in their sorted order, and their lengths (B,)."""
    rows = torch.arange(int(packed.batch_sizes[0]))
    valid = (rows < packed.batch_sizes.unsqueeze(-1)).to(packed.data.device)
    padded = packed.data.new_zeros(*valid.shape, packed.data.shape[-1])
    return padded.masked_scatter(valid.unsqueeze(-1), packed.data), valid.sum(0)


def unpad(states: Tensor, lengths: Tensor, like: PackedSequence) -> PackedSequence:
    """Return padded states (T, B, features) as a PackedSequence with the batch sizes and the order of ``like``."""
    valid = mask(lengths, states.shape[-3]).squeeze(-1)
    return PackedSequence(states[valid], like.batch_sizes, like.sorted_indices, like.unsorted_indices)

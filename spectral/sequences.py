"""Sequences of different lengths as one padded tensor, time major: (..., T, B, features) and lengths (...,
B).

The recurrence is causal, so steps past a sequence's end cannot reach the steps before it: they are computed,
then masked, and carry no gradient. Cost: T B steps rather than the sum of the lengths.
"""

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from spectral.errors import RangeError, ShapeError


def check_lengths(lengths: Tensor, steps: int, lead: tuple[int, ...], batch: int) -> Tensor:
    """lengths, shape (B,) or (K, B). Raises ShapeError, and RangeError unless each is from 1 to T."""
    if lengths.dim() < 1 or lengths.shape not in {(batch,), (*lead, batch)}:
        raise ShapeError(f"lengths must have shape {(*lead, batch)} or {(batch,)}; found {tuple(lengths.shape)}")
    if lengths.is_floating_point():
        raise RangeError(f"lengths must be integers; found {lengths.dtype}")
    if lengths.numel() and not (int(lengths.min()) >= 1 and int(lengths.max()) <= steps):
        raise RangeError(f"lengths must lie in [1, {steps}]; found {int(lengths.min())} to {int(lengths.max())}")
    return lengths


def mask(lengths: Tensor, steps: int) -> Tensor:
    """(..., T, B, 1), true where a step belongs to its sequence."""
    time = torch.arange(steps, device=lengths.device).unsqueeze(-1)
    return (time < lengths.unsqueeze(-2)).unsqueeze(-1)


def backwards(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Each sequence reversed within its own length; its own inverse."""
    if lengths is None:
        return x.flip(-3)
    time = torch.arange(x.shape[-3], device=x.device).unsqueeze(-1)
    ends = lengths.unsqueeze(-2)
    index = torch.where(time < ends, ends - 1 - time, time).unsqueeze(-1)
    return x.gather(-3, index.expand(x.shape))


def last(states: Tensor, lengths: Tensor | None) -> Tensor:
    """The state after each sequence's last step, (..., B, features)."""
    if lengths is None:
        return states[..., -1, :, :]
    index = (lengths - 1).unsqueeze(-2).unsqueeze(-1)
    shape = (*states.shape[:-3], 1, *states.shape[-2:])
    return states.gather(-3, index.expand(shape)).squeeze(-3)


def pad(packed: PackedSequence) -> tuple[Tensor, Tensor]:
    """(T, B, features) with zeros past the ends, in the packed (sorted) order, and lengths (B,)."""
    rows = torch.arange(int(packed.batch_sizes[0]))
    here = (rows < packed.batch_sizes.unsqueeze(-1)).to(packed.data.device)
    padded = packed.data.new_zeros(*here.shape, packed.data.shape[-1])
    return padded.masked_scatter(here.unsqueeze(-1), packed.data), here.sum(0)


def unpad(states: Tensor, lengths: Tensor, like: PackedSequence) -> PackedSequence:
    """states (T, B, features) as a PackedSequence laid out as `like`."""
    here = mask(lengths, states.shape[-3]).squeeze(-1)
    return PackedSequence(states[here], like.batch_sizes, like.sorted_indices, like.unsorted_indices)

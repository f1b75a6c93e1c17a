"""Sequences of different lengths in one padded tensor, time major: (..., T, B, features) with lengths (..., B).

The recurrence is causal, so steps past a sequence's end cannot change the steps before it. They are computed and then
replaced by zeros, and they carry no gradient. All T steps of all B sequences are paid for, whatever the lengths are.
"""

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from spectral.errors import RangeError, ShapeError

SYNC_IS_AN_ERROR = 2
"""What ``torch.cuda.get_sync_debug_mode`` returns in its mode "error"."""


def check_lengths(lengths: Tensor, steps: int, lead: tuple[int, ...], batch: tuple[int, ...]) -> Tensor:
    """Return ``lengths`` as int64 if they fit the input, and raise otherwise.

    The values are not checked where they cannot be read: while torch compiles or exports, on the meta device, and on a
    GPU while a CUDA graph is captured or where ``torch.cuda.set_sync_debug_mode`` makes waiting for it an error.

    Args:
        lengths: How many steps of each sequence count. Shape ``batch``, also in a pack, where it then holds for every
            trial; or (K, *batch).
        steps: T, the longest possible length.
        lead: () for a single trial, (K,) for a pack.
        batch: (B,), or () for an input without a batch.

    Raises:
        ShapeError: If they are no tensor, or the shape does not fit.
        RangeError: If the dtype is not an integer one, or a length does not lie in [1, T].
    """
    found = tuple(lengths.shape) if isinstance(lengths, Tensor) else type(lengths).__name__
    if found not in {batch, (*lead, *batch)}:
        either = f" or {(*lead, *batch)}" if lead else ""
        raise ShapeError(f"lengths must be a tensor of shape {batch}{either}; found {found}")
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise RangeError(f"lengths must be integers, such as torch.int64; found {lengths.dtype}")
    readable = not (torch.compiler.is_compiling() or lengths.is_meta or (lengths.is_cuda and _host_may_not_wait()))
    if readable and lengths.numel() and not (int(lengths.min()) >= 1 and int(lengths.max()) <= steps):
        raise RangeError(
            f"lengths must lie in [1, {steps}], the number of steps of the input; "
            f"found {int(lengths.min())} to {int(lengths.max())}"
        )
    return lengths.to(torch.int64)


def _host_may_not_wait() -> bool:
    return torch.cuda.is_current_stream_capturing() or torch.cuda.get_sync_debug_mode() == SYNC_IS_AN_ERROR


def mask(lengths: Tensor, steps: int) -> Tensor:
    """Return a mask (..., T, B, 1) that is true where step t < lengths[b]; ``steps`` is T."""
    time = torch.arange(steps, device=lengths.device).unsqueeze(-1)
    return (time < lengths.unsqueeze(-2)).unsqueeze(-1)


def masked(output: Tensor, valid: Tensor | None) -> Tensor:
    """Return the output with zeros where ``valid`` is false; ``valid`` None means that all is valid."""
    return output if valid is None else torch.where(valid, output, torch.zeros_like(output))


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
    data, valid = packed.data, _valid(packed)
    padded = data.new_zeros(valid.numel(), data.shape[-1])
    padded = padded.index_copy(0, _rows(valid).to(data.device), data)
    return padded.view(*valid.shape, -1), valid.sum(0).to(data.device)


def unpad(states: Tensor, like: PackedSequence) -> PackedSequence:
    """Return padded states as a PackedSequence.

    Args:
        states: Shape (T, B, features), in the sorted order that ``pad`` returned.
        like: The PackedSequence given to ``pad``; its batch sizes and its order are taken over.
    """
    data = states.flatten(0, 1).index_select(0, _rows(_valid(like)).to(states.device))
    return PackedSequence(data, like.batch_sizes, like.sorted_indices, like.unsorted_indices)


def _valid(packed: PackedSequence) -> Tensor:
    """Return a mask (T, B) on the CPU, where batch sizes are: true where a sequence, in sorted order, has a step."""
    return torch.arange(int(packed.batch_sizes[0]), device="cpu") < packed.batch_sizes.unsqueeze(-1)


def _rows(valid: Tensor) -> Tensor:
    """Return which rows of the flat mask are true, in the order in which a PackedSequence stores its steps."""
    return valid.flatten().nonzero().squeeze(-1)

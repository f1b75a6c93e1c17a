"""Checks of what a caller gives to a recurrent module, and its conversion into one layout: time before batch.

Errors name shapes as the caller gave them: with ``batch_first``, without a batch, or with a trial axis.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from spectral import sequences
from spectral.autocast import autocast_is_on
from spectral.errors import ShapeError

States = tuple[Tensor, ...]
"""(h,), or for an LSTM (h, c): each (layers * directions, B, width), with a leading K in a pack."""


class InputLayout(NamedTuple):
    """What a recurrent module takes: the sizes of its input and of its states, their device and their dtype."""

    lead: tuple[int, ...]
    """The leading dimensions of inputs and states: () for a single trial, (K,) for a pack."""
    batch_first: bool
    """Whether the caller's input has the batch before time."""
    input_size: int
    """The number of features of the input."""
    layers: int
    """The first size of a state: layers * directions."""
    widths: dict[str, int]
    """The last size of each state, by its name: h_0, and c_0 for an LSTM."""
    device: torch.device
    """The device of the parameters, on which inputs and states must be."""
    dtype: torch.dtype
    """The dtype of the parameters, which inputs and states must have unless autocast is on."""
    computing_dtype: torch.dtype
    """The dtype into which inputs and states are cast."""

    def result(self, computed: Tensor) -> Tensor:
        """Return a computed tensor as the module returns it: in half precision if the module is so.

        Otherwise it stays as it is: under autocast the backend ``triton`` computes states in bfloat16.
        """
        return computed if self.dtype == self.computing_dtype else computed.to(self.dtype)


class TimeMajor(NamedTuple):
    """The caller's input, states and lengths, checked and in one layout: time before batch, and always a batch."""

    x: Tensor
    """Shape (..., T, B, I)."""
    states: States
    """Each of shape (..., layers * directions, B, width); zeros if the caller gave none."""
    lengths: Tensor | None
    """Shape (B,) or (K, B), int64; None if the caller gave none."""
    unbatched: bool
    """Whether the caller's input had no batch dimension; B is then 1."""


def read_padded(layout: InputLayout, input: Tensor, hx: Any, lengths: Tensor | None) -> TimeMajor:
    """Bring the caller's input, states and lengths into the layout that all computations use.

    Raises:
        ShapeError: If the input or a state has the wrong shape, dtype or device, ``hx`` has the wrong number of
            states, or the lengths do not fit the batch.
        RangeError: If a length is not an integer in [1, T].
    """
    unbatched = _check_input(layout, input)
    _check_device_and_dtype("input", input, layout)
    x = input.unsqueeze(-2) if unbatched else _batch_and_time_swapped(layout, input)
    steps, batch = x.shape[-3], x.shape[-2]
    if lengths is not None:
        lengths = sequences.check_lengths(lengths, steps, layout.lead, () if unbatched else (batch,))
        lengths = lengths.unsqueeze(-1) if unbatched else lengths
    states = _read_states(layout, hx, x, None if unbatched else batch)
    return TimeMajor(x.to(layout.computing_dtype), states, lengths, unbatched)


def read_packed(
    layout: InputLayout, input: PackedSequence, hx: Any, lengths: Tensor | None
) -> tuple[PackedSequence, States]:
    """Return the PackedSequence and the states in the dtype of computation, both checked.

    The states are in the caller's order of sequences, not in the sorted order of the PackedSequence.

    Raises:
        ShapeError: If the module is a pack, ``lengths`` are given, or a shape, a dtype or a device does not fit.
    """
    if layout.lead:
        raise ShapeError(
            "a PackedSequence has no trial axis, but this module is a pack; pass padded input and `lengths` instead"
        )
    if lengths is not None:
        raise ShapeError("a PackedSequence has lengths already, but `lengths` are given too; leave `lengths` out")
    data = input.data
    if data.dim() != 2 or data.shape[-1] != layout.input_size:
        raise ShapeError(
            f"the data of a PackedSequence must have shape (steps, {layout.input_size}); found {tuple(data.shape)}"
        )
    _check_device_and_dtype("input", data, layout)
    data = data.to(layout.computing_dtype)
    states = _read_states(layout, hx, data, int(input.batch_sizes[0]))
    return PackedSequence(data, input.batch_sizes, input.sorted_indices, input.unsorted_indices), states


def caller_layout(layout: InputLayout, output: Tensor, unbatched: bool) -> Tensor:
    """Return a time-major output (..., T, B, H) in the layout of the caller's input, and in half for a half module.

    That is (..., T, H) if the input was ``unbatched``, else (..., B, T, H) with ``batch_first``.
    """
    output = layout.result(output)
    return output.squeeze(-2) if unbatched else _batch_and_time_swapped(layout, output)


def _batch_and_time_swapped(layout: InputLayout, x: Tensor) -> Tensor:
    """Return x with its axes of batch and time swapped if the module is ``batch_first``, and else x itself."""
    return x.transpose(-2, -3) if layout.batch_first else x


def _check_input(layout: InputLayout, input: Tensor) -> bool:
    """Return whether the input has no batch dimension, and raise ShapeError unless its shape fits."""
    if not isinstance(input, Tensor):
        raise ShapeError(f"input must be a tensor or a PackedSequence; found {type(input).__name__}")
    dims, unbatched = len(layout.lead) + 3, input.dim() == len(layout.lead) + 2
    time = -2 if unbatched or layout.batch_first else -3
    if (
        input.dim() not in (dims - 1, dims)
        or input.shape[: len(layout.lead)] != layout.lead
        or input.shape[-1] != layout.input_size
        or input.shape[time] < 1
    ):
        lead = "".join(f"{size}, " for size in layout.lead)
        order = "B, T" if layout.batch_first else "T, B"
        raise ShapeError(
            f"input must have shape ({lead}{order}, {layout.input_size}), or without a batch "
            f"({lead}T, {layout.input_size}), with T >= 1; found {tuple(input.shape)}"
        )
    return unbatched


def _check_device_and_dtype(name: str, tensor: Tensor, layout: InputLayout) -> None:
    """Raise ShapeError unless the tensor has the parameters' device and dtype.

    Under autocast it may have any real floating-point dtype.
    """
    if tensor.device != layout.device:
        raise ShapeError(
            f"{name} must be on the device of the parameters, {layout.device}; found {tensor.device}; "
            f"move {name}, {name}.to({str(layout.device)!r}), or the module, .to({str(tensor.device)!r})"
        )
    found, own = tensor.dtype, layout.dtype
    if found == own or (tensor.is_floating_point() and autocast_is_on(tensor.device)):
        return
    if tensor.is_complex():
        advice = "complex numbers are not supported: pass real and imaginary parts as separate features"
    elif tensor.is_floating_point():
        advice = f"convert {name}, {name}.to({own}), or the module, .to({found})"
    else:
        advice = f"convert it: {name}.to({own})"
    raise ShapeError(f"{name} must have the dtype of the parameters, {own}; found {found}; {advice}")


def _read_states(layout: InputLayout, hx: Any, like: Tensor, batch: int | None) -> States:
    """Return the initial states with a batch dimension, in the dtype of computation.

    Args:
        layout: What the module takes.
        hx: What the caller gave; None is zeros.
        like: A tensor on the device of the input.
        batch: B; None for an input without a batch, whose states have none either.
    """
    rows = () if batch is None else (batch,)
    shapes = {name: (*layout.lead, layout.layers, *rows, width) for name, width in layout.widths.items()}
    if hx is None:
        states = [like.new_zeros(shape, dtype=layout.computing_dtype) for shape in shapes.values()]
    else:
        states = _given_states(layout, hx)
        for (name, shape), state in zip(shapes.items(), states, strict=True):
            if state.shape != shape:
                kind = " for an input without a batch" if batch is None else ""
                raise ShapeError(f"{name} must have shape {shape}{kind}; found {tuple(state.shape)}")
            _check_device_and_dtype(name, state, layout)
    states = [state.unsqueeze(-2) for state in states] if batch is None else states
    return tuple(state.to(layout.computing_dtype) for state in states)


def _given_states(layout: InputLayout, hx: Any) -> list[Tensor]:
    """Return the caller's states in a list, and raise ShapeError unless ``hx`` holds as many as the module has."""
    names = tuple(layout.widths)
    parts = list(hx) if isinstance(hx, tuple | list) else [hx]
    is_one = len(names) == 1
    if is_one != isinstance(hx, Tensor) or len(parts) != len(names) or not all(isinstance(s, Tensor) for s in parts):
        expected = f"one tensor, {names[0]}" if is_one else f"a tuple of two tensors, ({', '.join(names)})"
        kinds = ", ".join(type(part).__name__ for part in parts)
        found = kinds if parts[:1] == [hx] else f"{type(hx).__name__} of {len(parts)}: ({kinds})"
        raise ShapeError(f"hx must be {expected}; found a {found}")
    return parts

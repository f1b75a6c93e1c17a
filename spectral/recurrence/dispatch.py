"""Which way of computing the recurrence runs: the one table and the one rule."""

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spectral import packed, sequences
from spectral.errors import OptionError, RangeError, ShapeError
from spectral.recurrence import checkpoint, cudnn, dense, native, reference, torch_loop, triton
from spectral.recurrence.activation import NAMES, Activation
from spectral.transition import Factors, Matrix, Transition, factors
from spectral.transition import dense as dense_matrix

log = logging.getLogger(__name__)

Backend = Callable[[Tensor, Tensor, Any, Activation, Tensor | None], Tensor]
"""z, h0, the matrix in the form of FORMS, the nonlinearity and modrelu's offset (n) or (K, n) -> all states."""

BACKENDS: dict[str, Backend] = {
    "reference": reference.run,
    "torch_loop": torch_loop.run,
    "dense": dense.run,
    "native": native.run,
    "native_dense": native.run_dense,
    "triton": triton.run,
    "cudnn": cudnn.run,
}
"""Name -> function. A new backend joins here, and the law suite in tests/spectral takes it from here."""

FORMS: dict[str, Callable[[Matrix], Matrix]] = {
    "torch_loop": factors,
    "dense": dense_matrix,
    "native": factors,
    "native_dense": dense_matrix,
    "triton": factors,
    "cudnn": dense_matrix,
}
"""What a backend makes of the transition: made once for a sequence, however many segments it is cut into."""

Layer = Callable[
    [Tensor, Tensor | None, Tensor | None, Tensor, Matrix, Activation, Tensor | None], tuple[Tensor, Tensor]
]

LAYERS: dict[str, Layer] = {"native": native.layer, "native_dense": native.layer_dense, "cudnn": cudnn.layer}
"""Backends that take the input, M and b in place of z = M x + b (or z, without M) and give the last state apart."""

LAST: dict[str, Callable[..., Tensor]] = {"native": native.last, "native_dense": native.last_dense}
"""As LAYERS, but the last state alone, and no other is kept: where no gradient is wanted."""

ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "cudnn": cudnn.ACTIVATIONS,
}
"""Nonlinearities of the backends that do not have all of them."""

SMALLEST_FACTORED = {"native": 48, "torch_loop": 128}
"""Hidden sizes below which one dense product a step costs less than the two of the factored form."""

WIDEST_INPUT = 32
"""Features per step up to which native forms M x inside the time loop; above, one large product before it is faster."""


def choose(size: int, rank: int, *, native: bool = False) -> str:
    """The backend on the CPU for hidden size n and rank r = m1 + m2: flop (12 n r against 6 n^2), then measurement."""
    if native:
        return "native" if size >= SMALLEST_FACTORED["native"] and 2 * rank <= size else "native_dense"
    return "torch_loop" if size >= SMALLEST_FACTORED["torch_loop"] and 4 * rank <= size else "dense"


def choose_on_gpu(size: int, rank: int, activation: str, *, can_triton: bool, pack: bool = False) -> str:
    """The backend on a CUDA device: factored in one kernel where it fits, else W through cuDNN, else W step by step.

    A rule of flop and of what fits on chip; no figure of a GPU stands behind it yet.
    """
    if can_triton and 2 * rank <= size and triton.fits(size, rank):
        return "triton"
    return "cudnn" if activation in cudnn.ACTIVATIONS and not pack else "dense"


def check_backend(name: str) -> None:
    """Raises OptionError unless name is 'auto' or in BACKENDS."""
    if name != "auto" and name not in BACKENDS:
        raise OptionError(f"backend must be 'auto' or one of {', '.join(BACKENDS)}; found {name!r}")


def check_checkpoint_every(steps: int | None) -> None:
    """Raises RangeError unless it is None or a count of steps."""
    if steps is not None and steps < 1:
        raise RangeError(f"checkpoint_every must be None or at least 1; found {steps}")


def recurrence(
    z: Tensor, h0: Tensor, transition: Transition, activation: Activation,
    *, offset: Tensor | None = None, backend: str = "auto", checkpoint_every: int | None = None,
) -> Tensor:  # fmt: skip
    """All states of h_t = phi(z_t + W h_{t-1}), shape of z.

    z (T, B, n), h0 (B, n), transition without batch; or z (K, T, B, n), h0 (K, B, n), transition with leading K;
    offset (n), or (K, n), for modrelu. T >= 1; B may be 0. Raises ShapeError, OptionError, RangeError. Computes in the
    dtype of the transition, also under autocast, but for `triton` (triton.py). `checkpoint_every`: see `stack`.
    """
    cell = Cell(None, None, transition, offset)
    states, _ = stack(z, h0.unsqueeze(-3), [cell], activation, backend=backend, checkpoint_every=checkpoint_every)
    assert states is not None
    return states


def layer(
    x: Tensor, weight: Tensor, bias: Tensor | None, h0: Tensor, transition: Transition, activation: Activation,
    *, offset: Tensor | None = None, backend: str = "auto", checkpoint_every: int | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """All states and the last one of h_t = phi(M x_t + b + W h_{t-1}): (T, B, n) and (B, n).

    x (T, B, I), weight M (n, I), bias b (n) or None, h0 (B, n), all with a leading K in a pack. Raises as
    `recurrence`. A loss that reads the last state alone is cheaper through the second result.
    """
    cells = [Cell(weight, bias, transition, offset)]
    states, last = stack(x, h0.unsqueeze(-3), cells, activation, backend=backend, checkpoint_every=checkpoint_every)
    assert states is not None
    return states, last.squeeze(-3)


def last_state(
    x: Tensor, weight: Tensor, bias: Tensor | None, h0: Tensor, transition: Transition, activation: Activation,
    *, offset: Tensor | None = None, lengths: Tensor | None = None, backend: str = "auto",
    checkpoint_every: int | None = None,
) -> Tensor:  # fmt: skip
    """The last state alone, (B, n), or that after `lengths` (B) steps; otherwise as `layer`.

    With checkpoint_every no array of the size of all states exists, neither forward nor backward.
    """
    return stack(
        x, h0.unsqueeze(-3), [Cell(weight, bias, transition, offset)], activation,
        lengths=lengths, backend=backend, checkpoint_every=checkpoint_every, wanted=False,
    )[1].squeeze(-3)  # fmt: skip


def dense_recurrence(
    z: Tensor, h0: Tensor, matrix: Tensor, activation: Activation, *, offset: Tensor | None = None
) -> Tensor:
    """Return all states of h_t = phi(z_t + W h_{t-1}) for a matrix W that is given as it is.

    The compiled loop runs where it can, else a loop in torch. Computes in the dtype of the matrix, also under autocast.

    Args:
        z: The summed inputs M x_t + b, shape (T, B, n), or (K, T, B, n) in a pack; T >= 1.
        h0: The state before the first step, shape (B, n), or (K, B, n).
        matrix: W, shape (n, n), or (K, n, n).
        activation: The nonlinearity phi.
        offset: The offset of modReLU, shape (n,), or (K, n); None for the other nonlinearities.

    Returns:
        The states, in the shape of z.

    Raises:
        ShapeError: If the shapes do not fit together.
        OptionError: If an offset is given to a nonlinearity that has none.
    """
    lead, n = matrix.shape[:-2], matrix.shape[-1]
    if matrix.dim() not in (2, 3) or matrix.shape[-2] != n:
        raise ShapeError(f"the matrix must have shape (n, n) or (K, n, n); found {tuple(matrix.shape)}")
    if z.dim() != 3 + len(lead) or z.shape[:-3] != lead or z.shape[-1] != n or z.shape[-3] < 1:
        wanted = ", ".join([*map(str, lead), "T", "B", str(n)])
        raise ShapeError(f"z must have shape ({wanted}), T >= 1; found {tuple(z.shape)}")
    if h0.shape != (*lead, z.shape[-2], n):
        raise ShapeError(f"h0 must have shape {(*lead, z.shape[-2], n)}; found {tuple(h0.shape)}")
    _check_offset(offset, (*lead, n), activation)
    name = "native_dense" if native.available(z.device, matrix.dtype) else "dense"
    with torch.autocast(z.device.type, enabled=False):
        return BACKENDS[name](z.to(matrix.dtype), h0.to(matrix.dtype).contiguous(), matrix, activation, offset)


class Cell(NamedTuple):
    """One layer in one direction: h' = phi(M x + b + W h); without M, x is M x + b already. offset: modrelu's."""

    weight: Tensor | None
    bias: Tensor | None
    matrix: Matrix
    offset: Tensor | None = None


def stack(
    x: Tensor, h0: Tensor, cells: Sequence[Cell], activation: Activation,
    *, lengths: Tensor | None = None, backend: str = "auto", checkpoint_every: int | None = None, wanted: bool = True,
) -> tuple[Tensor | None, Tensor]:  # fmt: skip
    """Layers one upon another: the top one's states (T, B, n), None unless `wanted`, and all last ones (L, B, n).

    x (T, B, I), h0 (L, B, n), cells with Transition, all with a leading K in a pack; lengths (B) or (K, B): the last
    state is that after so many steps. `checkpoint_every` S >= 1: backward keeps the states at every S-th step alone
    and computes those between again, S steps at a time, all layers together; T <= S changes nothing. Raises as
    `recurrence`.
    """
    check_checkpoint_every(checkpoint_every)
    names = [_resolve(backend, x, cell, activation) for cell in cells]
    _check_shapes(x, h0, cells)
    _check_offsets(cells, activation)
    _check_cells(x, cells)
    autocast = torch.is_autocast_enabled(x.device.type) and torch.get_autocast_dtype(x.device.type) == torch.bfloat16
    with torch.autocast(x.device.type, enabled=False):
        dtype = _tensors(cells[0].matrix)[0].dtype
        x, h0 = x.to(dtype), h0.to(dtype)
        matrices = [FORMS.get(name, _as_it_is)(cell.matrix) for name, cell in zip(names, cells, strict=True)]
        kinds = [(name, type(matrix)) for name, matrix in zip(names, matrices, strict=True)]
        parameters: list[Tensor | None] = []
        for cell, matrix in zip(cells, matrices, strict=True):
            parameters += [cell.weight, cell.bias, cell.offset, *_tensors(matrix)]

        segmented = checkpoint_every is not None and x.shape[-3] > checkpoint_every
        every = wanted or segmented or lengths is not None or torch.is_grad_enabled()

        def segment(x: Tensor, h: Tensor, given: Sequence[Tensor | None]) -> list[tuple[Tensor, Tensor]]:
            found: list[tuple[Tensor, Tensor]] = []
            rest: Iterator[Any] = iter(given)
            for i, (name, kind) in enumerate(kinds):
                weight, bias, offset = next(rest), next(rest), next(rest)
                matrix = next(rest) if kind not in (Transition, Factors) else kind(*islice(rest, 3))
                cell = Cell(weight, bias, matrix, offset)
                kept = every or i + 1 < len(kinds)
                found.append(_run(name, x, cell, h[..., i, :, :], activation, autocast, kept=kept))
                x = found[-1][0]
            return found

        if checkpoint_every is not None and segmented:
            ends = None if lengths is None else lengths.expand(*x.shape[:-3], x.shape[-2])
            return checkpoint.run(segment, x, h0, parameters, checkpoint_every, lengths=ends, states=wanted)
        found = segment(x, h0, parameters)
    lasts = [last if lengths is None else sequences.last(states, lengths) for states, last in found]
    return found[-1][0] if wanted else None, torch.stack(lasts, -3)


def _run(
    name: str, x: Tensor, cell: Cell, h0: Tensor, activation: Activation, bfloat16: bool, *, kept: bool
) -> tuple[Tensor, Tensor]:
    """All states and the last; not `kept`: whatever stands for all is not read."""
    weight, bias, matrix, offset = cell
    if weight is not None and not _takes_input(name, x):
        x = torch.nn.functional.linear(x, weight, bias) if x.dim() == 3 else packed.linear(x, weight, bias)
        weight = bias = None
    if name in LAST and not kept:
        last = LAST[name](x, weight, bias, h0, matrix, activation, offset)
        return last, last
    if name in LAYERS:
        return LAYERS[name](x, weight, bias, h0, matrix, activation, offset)
    x = x.to(torch.bfloat16) if bfloat16 and name == "triton" else x
    states = BACKENDS[name](x, h0, matrix, activation, offset)
    return states, states[..., -1, :, :]


def _takes_input(name: str, x: Tensor) -> bool:
    if name == "cudnn":
        return True
    return name in LAYERS and x.shape[-1] <= WIDEST_INPUT and not x.requires_grad


def _as_it_is(matrix: Matrix) -> Matrix:
    return matrix


def _tensors(matrix: Matrix) -> tuple[Tensor, ...]:
    return (matrix,) if isinstance(matrix, Tensor) else tuple(matrix)


def _resolve(backend: str, like: Tensor, cell: Cell, activation: Activation) -> str:
    check_backend(backend)
    transition, device = cell.matrix, like.device
    assert isinstance(transition, Transition)
    n, r, dtype = transition.size, transition.rank, transition.u.dtype
    if backend == "auto" and device.type == "cuda":
        can_triton = triton.refusal(device, dtype) is None
        name = choose_on_gpu(n, r, activation.name, can_triton=can_triton, pack=like.dim() == 4)
    elif backend == "auto":
        name = choose(n, r, native=native.available(device, dtype))
    else:
        name = backend
        _check_runs(name, device, dtype, activation)
    log.debug("recurrence n=%d r=%d input=%s: backend %s", n, r, tuple(like.shape), name)
    return name


def _check_runs(name: str, device: torch.device, dtype: torch.dtype, activation: Activation) -> None:
    """Raises OptionError where a backend asked for by name cannot run."""
    why = None
    if name.startswith("native") and not native.available(device, dtype):
        why = f"needs a C++ compiler, the CPU and float32 or float64; found {device} and {dtype}"
    elif name == "triton":
        why = triton.refusal(device, dtype)
    elif activation.name not in ACTIVATIONS.get(name, NAMES):
        why = f"has {', '.join(ACTIVATIONS[name])} alone; found {activation.name!r}"
    if why is not None:
        raise OptionError(f"backend {name!r} {why}. Use 'auto'")


def _check_shapes(x: Tensor, h0: Tensor, cells: Sequence[Cell]) -> None:
    weight, matrix = cells[0].weight, cells[0].matrix
    assert isinstance(matrix, Transition)
    n, lead = matrix.size, matrix.sigma.shape[:-1]
    features = n if weight is None else weight.shape[-1]
    if len(lead) > 1 or x.dim() != 3 + len(lead) or x.shape[:-3] != lead or x.shape[-1] != features:
        wanted = f"({', '.join([*map(str, lead), 'T', 'B', str(features)])})"
        raise ShapeError(f"z or x must have shape {wanted}; found {tuple(x.shape)}")
    if x.shape[-3] < 1:
        raise ShapeError(f"a sequence must have at least one step; found shape {tuple(x.shape)}")
    if h0.shape != (*lead, len(cells), x.shape[-2], n):
        found = tuple(h0.shape) if len(cells) > 1 else (*h0.shape[:-3], *h0.shape[-2:])
        layers = (len(cells),) if len(cells) > 1 else ()
        raise ShapeError(f"h0 must have shape {(*lead, *layers, x.shape[-2], n)}; found {found}")


def _check_cells(x: Tensor, cells: Sequence[Cell]) -> None:
    """Sizes and dtypes of every tensor: the native loop reads what it is told is there."""
    width = x.shape[-1]
    for weight, bias, matrix, offset in cells:
        assert isinstance(matrix, Transition)
        row = matrix.sigma.shape
        m1, m2 = matrix.u.shape[-1], matrix.v.shape[-1]
        named = {
            "M": (weight, (*row, width)), "bias": (bias, row), "offset": (offset, row),
            "u": (matrix.u, (*row, m1)), "v": (matrix.v, (*row, m2)),
        }  # fmt: skip
        for name, (tensor, shape) in named.items():
            if tensor is not None and tensor.shape != shape:
                raise ShapeError(f"{name} must have shape {tuple(shape)}; found {tuple(tensor.shape)}")
            if tensor is not None and tensor.dtype != matrix.sigma.dtype:
                raise ShapeError(f"{name} must have sigma's dtype, {matrix.sigma.dtype}; found {tensor.dtype}")
        width = row[-1]


def _check_offsets(cells: Sequence[Cell], activation: Activation) -> None:
    for _, _, matrix, offset in cells:
        assert isinstance(matrix, Transition)
        _check_offset(offset, tuple(matrix.sigma.shape), activation)


def _check_offset(offset: Tensor | None, shape: tuple[int, ...], activation: Activation) -> None:
    """Raise ShapeError or OptionError unless the offset is what the nonlinearity needs."""
    if activation.has_offset and (offset is None or offset.shape != shape):
        found = None if offset is None else tuple(offset.shape)
        raise ShapeError(f"modrelu needs an offset of shape {shape}; found {found}")
    if offset is not None and not activation.has_offset:
        raise OptionError(f"nonlinearity {activation.name!r} has no offset; give none, or use 'modrelu'")

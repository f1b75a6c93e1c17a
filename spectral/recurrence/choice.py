"""The rule by which ``backend="auto"`` chooses a backend, and the checks of a backend that is asked for by name."""

import logging

import torch
from torch import Tensor

from spectral.errors import OptionError
from spectral.operators import in_forward_mode, is_batched
from spectral.recurrence import cudnn, native, triton, triton_dense
from spectral.recurrence.activation import Activation
from spectral.recurrence.backends import BACKENDS, Cell, activations_of
from spectral.transition import Transition

log = logging.getLogger(__name__)

_told: set[tuple[object, ...]] = set()

SMALLEST_FACTORED = {"native": 48, "torch_loop": 128}
"""Hidden sizes below which one dense product a step costs less than the two products of the factored form.

Measured; for ``native`` with AVX-512, with AVX2 and with SSE2, where the sizes at which both cost the same are alike.
"""


FACTORED_ON_A_GPU = ((64, 16), (192, 32), (1024, 64))
"""Hidden sizes, and the largest rank up to each for which ``triton`` was the fastest; measured on an H100."""


def check_backend(name: str) -> None:
    """Raise OptionError unless ``name`` is 'auto' or a backend."""
    if name != "auto" and name not in BACKENDS:
        raise OptionError(f"backend must be 'auto' or one of {', '.join(BACKENDS)}; found {name!r}")


def choose(size: int, rank: int, *, native: bool = False) -> str:
    """Return the backend that 'auto' chooses on the CPU and on every other device but CUDA ones.

    A factored step takes 12 n r flop for each row, a dense one 6 n^2. Measurements decide between them for small n, and
    for the loop in torch, whose skinny products run below the speed of square ones. ``native_mixed`` is
    ``native_dense`` for a trial of that rank. In a pack it is ``native`` for trials of lower rank, so that each has the
    form that it has alone.

    Args:
        size: The hidden size n.
        rank: r = m1 + m2, the number of reflectors on both sides.
        native: Whether the compiled loop can run.
    """
    if native and size >= SMALLEST_FACTORED["native"]:
        # A trial of a pack has a rank of its own, which may be lower.
        return "native" if 2 * rank <= size else "native_mixed"
    if native:
        return "native_dense"
    return "torch_loop" if size >= SMALLEST_FACTORED["torch_loop"] and 4 * rank <= size else "dense"


def choose_on_gpu(size: int, rank: int, activation: str, *, can_triton: bool, pack: bool = False) -> str:
    """Return the backend that 'auto' chooses on a CUDA device.

    The rule was measured on an H100; README.md in this folder has the figures.

    Args:
        size: The hidden size n.
        rank: r = m1 + m2, the number of reflectors on both sides.
        activation: The name of the nonlinearity.
        can_triton: Whether ``triton`` and ``triton_dense`` can run on the device.
        pack: Whether there is a trial axis; ``cudnn`` would run the trials one after another.
    """
    if can_triton and rank <= largest_factored_rank(size):
        return "triton"
    if can_triton and size <= (triton_dense.LARGEST_PACKED if pack else triton_dense.LARGEST_ALONE):
        return "triton_dense"
    return "cudnn" if activation in cudnn.ACTIVATIONS and not pack else "dense"


def choose_dense(size: int, device: torch.device, dtype: torch.dtype, *, pack: bool) -> str:
    """Return the backend for a matrix W that is given as a tensor.

    Args:
        size: The hidden size n.
        device: The device of all tensors.
        dtype: The dtype of W.
        pack: Whether there is a trial axis.
    """
    if native.available(device, dtype):
        return "native_dense"
    largest = triton_dense.LARGEST_PACKED if pack else triton_dense.LARGEST_ALONE
    if device.type == "cuda" and size <= largest and not in_forward_mode() and triton.refusal(device, dtype) is None:
        return "triton_dense"
    return "dense"


def largest_factored_rank(size: int) -> int:
    """Return the largest rank for which ``triton`` was the fastest for n = ``size``, or -1 if it never was."""
    return next((rank for largest, rank in FACTORED_ON_A_GPU if size <= largest), -1)


def resolve(backend: str, x: Tensor, cell: Cell, activation: Activation) -> str:
    """Return the name of the backend that computes one cell, and log it.

    Args:
        backend: 'auto', or the name of a backend.
        x: The input, which shows the device and whether there is a trial axis.
        cell: The layer, with a Transition.
        activation: The nonlinearity.

    Raises:
        OptionError: If there is no backend of that name, or if it cannot run here.
    """
    check_backend(backend)
    transition, device = cell.matrix, x.device
    assert isinstance(transition, Transition)
    n, r, dtype = transition.size, transition.rank, transition.u.dtype
    if backend == "auto" and in_forward_mode():
        name = "dense"  # the fastest that has derivatives of every kind
    elif backend == "auto" and device.type == "cuda":
        can_triton = triton.refusal(device, dtype) is None
        pack = x.dim() == 4 or _is_vmapped(x, cell)
        name = choose_on_gpu(n, r, activation.name, can_triton=can_triton, pack=pack)
    elif backend == "auto":
        name = choose(n, r, native=native.available(device, dtype))
    else:
        name = backend
        _check_runs(name, device, dtype, activation, _is_vmapped(x, cell))
    if not torch.compiler.is_compiling():  # a line of a log would break a compiled graph in two
        log.log(
            _level(n, r, device.type, name), "recurrence n=%d r=%d input=%s: backend %s", n, r, tuple(x.shape), name
        )
    return name


def _level(*what: object) -> int:
    """Return the level at which a choice is logged: INFO the first time that it is made in this process, then DEBUG."""
    if what in _told:
        return logging.DEBUG
    _told.add(what)
    return logging.INFO


def _is_vmapped(x: Tensor, cell: Cell) -> bool:
    """Return whether ``torch.vmap`` runs over the input or a parameter of the cell."""
    return any(tensor is not None and is_batched(tensor) for tensor in (x, *cell.tensors()))


def _check_runs(name: str, device: torch.device, dtype: torch.dtype, activation: Activation, vmapped: bool) -> None:
    """Raise OptionError if a backend that is asked for by name cannot run here."""
    reason = None
    if name.startswith("native") and not native.available(device, dtype):
        reason = (
            f"needs the CPU, float32 or float64, and a C++ compiler that builds it; found {device} and {dtype}. "
            "If these are right, the build failed, and the log says why"
        )
    elif name == "cudnn" and vmapped:
        reason = "is torch's own RNN, which torch.vmap cannot transform"
    elif name.startswith("triton"):
        reason = triton.refusal(device, dtype)
    elif activation.name not in activations_of(name):
        reason = f"supports only {', '.join(activations_of(name))}; found {activation.name!r}"
    if reason is not None:
        raise OptionError(f"backend {name!r} {reason}. Use 'auto'")

"""Every registered operator holds what torch asks of one, for every dtype and layout of its arguments."""

import pytest
import torch
from torch import Tensor

from spectral.cpu import transition as cpu
from spectral.operators import NAMESPACE, Operator
from spectral.recurrence import dense, native, torch_loop, triton, triton_dense
from spectral.singular_values import ON_GPU as MAP
from spectral.singular_values import ON_GPU_BACKWARD as MAP_BACKWARD
from spectral.transition import (
    FACTORS,
    FACTORS_BACKWARD,
    MATRIX,
    MATRIX_BACKWARD,
    ON_CPU,
    ON_CPU_BACKWARD,
    ON_GPU,
    ON_GPU_BACKWARD,
)
from tests.spectral.agreement import NO_TRITON

T, B, N, FEATURES, M1, M2 = 4, 3, 5, 2, 2, 1
R = M1 + M2
PHI = ("modrelu", 0.01)
STATES = {"z": (T, B, N), "h0": (B, N)}
FACTORED = {"sigma": (N,), "a": (N, R), "c": (N, R)}
SAVED = [(N, M1), (M1, M1), (N, M2), (M2, M2), (M1, N), (M2, N), (M1, M2)]
TRITON = [(T, B, FEATURES), (B, N), (N,), (N, R), (N, R), (N, FEATURES), (N,)]

NATIVE = (*PHI, native.ALL)
KEPT = cpu.saved_size(torch.empty(N, M1), torch.empty(N, M2))

CASES = {
    "factors": (FACTORS, [(N,), (N, M1), (N, M2)]),
    "factors_backward": (FACTORS_BACKWARD, [(N, R), (N, R), (N,), (N, M1), (N, M2), *SAVED]),
    "triton_factors": (ON_GPU, [(N,), (N, M1), (N, M2)]),
    "triton_factors_backward": (ON_GPU_BACKWARD, [(N, R), (N, R), (N,), (N, M1), (N, M2), (7, 16, 16)]),
    "triton_singular_map": (MAP, [(N,), *[(1,)] * 6, "sigmoid"]),
    "triton_singular_map, clip": (MAP, [(N,), *[(1,)] * 6, "clip"]),
    "triton_singular_map_backward": (MAP_BACKWARD, [(N,), (N,), *[(1,)] * 3, "sigmoid"]),
    "triton_singular_map_backward, clip": (MAP_BACKWARD, [(N,), (N,), *[(1,)] * 3, "clip"]),
    "native_factors": (ON_CPU, [(N,), (N, M1), (N, M2)]),
    "native_factors_backward": (ON_CPU_BACKWARD, [(N, R), (N, R), (N,), (N, M1), (N, M2), (KEPT,)]),
    "native_matrix": (MATRIX, [(N,), (N, R), (N, R)]),
    "native_matrix_backward": (MATRIX_BACKWARD, [(N, N), (N,), (N, R), (N, R)]),
    "native": (native.FORWARD, [(T, B, FEATURES), (B, N), (N,), (N, R), (N, R), (N, FEATURES), (N,), (N,), *NATIVE]),
    "native, dense": (native.FORWARD, [(T, B, N), (B, N), None, (N, N), None, None, None, None, "tanh", 0.01, 0]),
    "native_backward": (
        native.BACKWARD,
        [
            (T, B, N),
            (B, N),
            (T, B, FEATURES),
            (B, N),
            (N,),
            (N, R),
            (N, R),
            (N, FEATURES),
            (N,),
            (N,),
            (T, B, N),
            (T, B, R),
            *NATIVE,
            True,
        ],
    ),
    "native_backward, dense": (
        native.BACKWARD,
        [(T, B, N), None, (T, B, N), (B, N), None, (N, N), *[None] * 4, (T, B, N), "absent", "tanh", 0.01, 0, True],
    ),
    "native_last": (native.LAST, [(T, B, FEATURES), (B, N), (N,), (N, R), (N, R), (N, FEATURES), (N,), (N,), *NATIVE]),
    "torch_loop": (torch_loop.FORWARD, [(T, B, N), (B, N), (N,), (N, R), (N, R), (N,), *PHI]),
    "torch_loop_backward": (
        torch_loop.BACKWARD,
        [(T, B, N), (T, B, N), (B, N), (N,), (N, R), (N, R), *PHI, True, True],
    ),
    "dense": (dense.FORWARD, [(T, B, N), (B, N), (N, N), (N,), *PHI]),
    "dense_backward": (dense.BACKWARD, [(T, B, N), (T, B, N), (B, N), (N, N), *PHI, True, True]),
    "triton": (triton.FORWARD, [*TRITON, (N,), *PHI]),
    "triton_last": (triton.LAST, [*TRITON, (N,), *PHI]),
    "triton_backward": (
        triton.BACKWARD,
        [(T, B, N), (B, N), *TRITON, (T, B, N), (T, B, R), *PHI, True, True, True, True],
    ),
    "triton_dense": (triton_dense.FORWARD, [(T, B, FEATURES), (B, N), (N, N), (N, FEATURES), (N,), (N,), *PHI]),
    "triton_dense, from z": (triton_dense.FORWARD, [(T, B, N), (B, N), (N, N), None, None, None, "tanh", 0.01]),
    "triton_dense_backward": (
        triton_dense.BACKWARD,
        [(T, B, N), (B, N), (T, B, N), (B, N), (N, N), (T, B, FEATURES), *PHI, True, True, True, True],
    ),
    "triton_dense_backward, last state": (
        triton_dense.BACKWARD,
        [None, (B, N), (T, B, N), (B, N), (N, N), None, "tanh", 0.01, True, True, False, False],
    ),
}


def arguments(name: str, lead: tuple[int, ...], dtype: torch.dtype, layout: str) -> tuple:
    """Draw the arguments of a case; ``strided`` ones are every other number of a transposed array."""
    generator = torch.Generator().manual_seed(0)

    def draw(value):
        if value == "absent":
            return torch.empty(0, dtype=dtype)
        if not isinstance(value, tuple):
            return value
        shape = (*lead, *value)
        if layout == "strided":
            shape = (*shape[:-1], 2 * shape[-1])
            drawn = torch.randn(*reversed(shape), dtype=dtype, generator=generator)
            return drawn.permute(*reversed(range(len(shape))))[..., ::2].requires_grad_()
        return torch.randn(*shape, dtype=dtype, generator=generator).requires_grad_()

    return tuple(draw(value) for value in CASES[name][1])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[NO_TRITON] if name.startswith("triton") else []) for name in CASES]
)
@pytest.mark.parametrize("lead", [(), (2,)], ids=["alone", "K=2"])
@pytest.mark.parametrize(
    ("dtype", "layout"), [(torch.float32, "strided"), (torch.float64, "contiguous")], ids=["float32", "float64"]
)
def test_torch_accepts_the_operator(name, lead, dtype, layout):
    operator, _ = CASES[name]
    tests = ["test_schema", "test_autograd_registration", "test_faketensor"]
    # The slowest of the four traces the operator and its derivative; it depends on neither the dtype nor the layout.
    if operator not in WITHOUT_DERIVATIVE and dtype == torch.float64:
        tests.append("test_aot_dispatch_dynamic")
    found = torch.library.opcheck(operator.overload, arguments(name, lead, dtype, layout), test_utils=tests)
    assert set(found.values()) == {"SUCCESS"}


WITHOUT_DERIVATIVE = [native.BACKWARD, torch_loop.BACKWARD, triton.BACKWARD, triton_dense.BACKWARD]
"""Operators whose derivative is refused."""


def test_every_operator_is_tested():
    registered = {name for name in dir(getattr(torch.ops, NAMESPACE)) if not name.startswith("_")} - {"name"}
    assert {operator.name for operator, _ in CASES.values()} >= registered


@pytest.mark.parametrize("name", ["native", "dense", "torch_loop", "factors", "native_factors", "native_matrix"])
def test_the_registered_operator_and_the_call_agree_with_their_gradients(name):
    """In plain eager code a call does not go through the registered operator, which exported programs use."""
    operator, given = CASES[name]
    generator = torch.Generator().manual_seed(1)
    arguments = [
        torch.randn(*v, dtype=torch.float64, generator=generator).requires_grad_() if isinstance(v, tuple) else v
        for v in given
    ]
    leaves = [a for a in arguments if isinstance(a, Tensor)]

    def gradients(function: object) -> list[Tensor]:
        results = function(*arguments)
        first = results[0] if isinstance(results, tuple) else results
        return [first, *torch.autograd.grad(first.square().sum(), leaves, allow_unused=True)]

    for called, registered in zip(gradients(operator), gradients(operator.overload), strict=True):
        assert torch.equal(called, registered)


def test_an_operator_without_derivatives_says_what_has_them():
    operator, given = CASES["native"]
    assert isinstance(operator, Operator)
    arguments = [torch.zeros(*v) if isinstance(v, tuple) else v for v in given]
    with pytest.raises(NotImplementedError, match=r"native has no derivative in forward mode.*backend='dense'"):
        torch.func.jvp(lambda x: operator(x, *arguments[1:])[0], (arguments[0],), (arguments[0],))

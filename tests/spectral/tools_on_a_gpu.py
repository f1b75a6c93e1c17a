"""torch's tools with the operators on a GPU, as a program: test_on_a_gpu.py runs it where Triton compiles its kernels.

It prints a line for each check and ends with the number of those that failed.
"""

import sys
import traceback
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap

from spectral import SpectralGRU, SpectralLinear, SpectralLSTM, SpectralRNN
from tests.spectral.test_operators import CASES, WITHOUT_DERIVATIVE, arguments

CUDA = "cuda"
SHAPE = (24, 16, 3)
"""(T, B, features) of the inputs."""


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def rnn(backend: str = "auto", **options) -> SpectralRNN:
    return SpectralRNN(3, 64, 2, reflectors=8, backend=backend, device=CUDA, generator=generator(), **options)


MODULES = {
    **{
        f"rnn {backend}": lambda backend=backend: rnn(backend)
        for backend in ("triton", "triton_dense", "torch_loop", "dense", "cudnn")
    },
    "rnn, both directions": lambda: rnn(bidirectional=True),
    "rnn, segments": lambda: rnn(checkpoint_every=9),
    "lstm": lambda: SpectralLSTM(3, 32, reflectors=4, device=CUDA, generator=generator()),
    "gru": lambda: SpectralGRU(3, 32, reflectors=4, device=CUDA, generator=generator()),
    "linear": lambda: SpectralLinear(3, 32, device=CUDA, generator=generator()),
}


def step(function: Callable, net: torch.nn.Module, x: Tensor) -> list[Tensor]:
    """Return the outputs and the gradients of a loss on them."""
    outputs = torch.utils._pytree.tree_leaves(function(x))
    loss = sum(output.float().square().sum() for output in outputs)
    return [*outputs, *torch.autograd.grad(loss, list(net.parameters()))]


def assert_near(found: list[Tensor], expected: list[Tensor], bound: float = 1e-4) -> None:
    for f, e in zip(found, expected, strict=True):
        error = float((f.double() - e.double()).abs().max() / e.double().abs().max().clamp(min=1e-30))
        assert error <= bound, f"a relative error of {error:.2g}"


def check_operator(name: str, lead: tuple[int, ...]) -> None:
    operator, _ = CASES[name]
    tests = ["test_schema", "test_autograd_registration", "test_faketensor"]
    if operator not in WITHOUT_DERIVATIVE:
        tests.append("test_aot_dispatch_dynamic")
    given = arguments(name, lead, torch.float64, "contiguous")
    on_gpu = tuple(v.detach().to(CUDA).requires_grad_() if isinstance(v, Tensor) else v for v in given)
    assert set(torch.library.opcheck(operator.overload, on_gpu, test_utils=tests).values()) == {"SUCCESS"}


def check_compiled(kind: str, mode: str) -> None:
    torch._dynamo.reset()
    net, x = MODULES[kind](), torch.randn(*SHAPE, device=CUDA)
    compiled = torch.compile(net, fullgraph=True, mode=mode)
    for _ in range(3):  # CUDA graphs are captured at the second call
        found = [tensor.clone() for tensor in step(compiled, net, x)]
    assert_near(found, step(net, net, x))


def check_exported(kind: str) -> None:
    net, x = MODULES[kind](), torch.randn(*SHAPE, device=CUDA)
    exported = torch.export.export(net, (x,)).module()
    assert_near(torch.utils._pytree.tree_leaves(exported(x)), torch.utils._pytree.tree_leaves(net(x)))


def check_cuda_graph(kind: str) -> None:
    """Capture a whole training step by hand, and replay it on another input."""
    net, x = MODULES[kind](), torch.randn(*SHAPE, device=CUDA)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(net, net, x)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step(net, net, x)
    x.copy_(torch.randn(*SHAPE, device=CUDA))
    graph.replay()
    assert_near(results, step(net, net, x))


def check_transforms(backend: str) -> None:
    nets = [rnn(backend) for _ in range(3)]
    x = torch.randn(*SHAPE, device=CUDA)
    parameters, buffers = stack_module_state(nets)
    found = vmap(lambda p, b: functional_call(nets[0], (p, b), (x,))[0])(parameters, buffers)
    assert_near([found], [SpectralRNN.pack(nets)(x.expand(3, *x.shape))[0]])
    named = dict(nets[0].named_parameters())
    gradients = grad(lambda p: functional_call(nets[0], p, (x,))[0].square().sum())(named)
    expected = torch.autograd.grad(nets[0](x)[0].square().sum(), list(named.values()))
    assert_near(list(gradients.values()), list(expected))


def check_half(kind: str, dtype: torch.dtype) -> None:
    """Train a step under autocast and in half precision; gradients are sums of roundings, so outputs are compared."""
    net, x = MODULES[kind](), torch.randn(*SHAPE, device=CUDA)
    exact = step(net, net, x)
    outputs = len(exact) - len(list(net.parameters()))
    with torch.autocast(CUDA, dtype):
        found = step(net, net, x)
    assert_near(found[:outputs], exact[:outputs], 0.1)
    half = net.to(dtype)
    found = step(half, half, x.to(dtype))
    assert all(f.dtype == dtype and f.isfinite().all() for f in found)
    assert_near(found[:outputs], exact[:outputs], 0.1)


def main() -> int:
    """Run every check and return how many failed."""
    torch.backends.cudnn.allow_tf32 = False
    checks = [
        *((check_operator, name, lead) for name in CASES if "native" not in name for lead in ((), (2,))),
        *((check_compiled, kind, "default") for kind in MODULES),
        *((check_compiled, kind, "reduce-overhead") for kind in MODULES),
        *((check_exported, kind) for kind in MODULES),
        *((check_cuda_graph, kind) for kind in MODULES),
        *((check_transforms, backend) for backend in ("auto", "triton", "triton_dense", "torch_loop", "dense")),
        *((check_half, kind, dtype) for kind in MODULES for dtype in (torch.bfloat16, torch.float16)),
    ]
    failed = 0
    for check, *given in checks:
        try:
            check(*given)
            print("passed", check.__name__, *given, flush=True)
        except Exception:
            failed += 1
            print("FAILED", check.__name__, *given, traceback.format_exc()[-1500:], flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())

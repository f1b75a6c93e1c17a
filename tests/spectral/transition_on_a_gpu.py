"""The kernels of the transition on a GPU, as a program: test_on_a_gpu.py runs it where Triton compiles its kernels.

It prints a line for each check and ends with the number of those that failed.
"""

import itertools
import sys

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from spectral import SpectralRNN
from spectral.transition import FACTORS, ON_GPU, factors

CUDA = "cuda"


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def problem(n: int, m1: int, m2: int, lead: tuple[int, ...]) -> tuple[list[Tensor], list[Tensor]]:
    """Draw sigma, u, v and the gradients of A and C."""
    given = [1 + 0.1 * torch.tanh(draw(*lead, n, seed=1)), draw(*lead, n, m1, seed=2), draw(*lead, n, m2, seed=3)]
    return given, [draw(*lead, n, m1 + m2, seed=seed) for seed in (4, 5)]


def results(operator, given: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    """Return A, C and the gradients of sigma, u and v."""
    leaves = [x.detach().requires_grad_() for x in given]
    pair = operator(*leaves)[:2]
    return [*(x.detach() for x in pair), *torch.autograd.grad(pair, leaves, weights)]


def on(tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    return [x.to(CUDA, dtype) for x in tensors]


def check_agreement(n: int, m1: int, m2: int, lead: tuple[int, ...], dtype: torch.dtype) -> bool:
    given, weights = problem(n, m1, m2, lead)
    expected = results(FACTORS, given, weights)
    found = results(ON_GPU, on(given, dtype), on(weights, dtype))
    bound = 1e-12 if dtype == torch.float64 else 2e-5
    return all(
        not e.numel() or float((f.cpu().double() - e).abs().max()) <= bound * float(e.abs().max())
        for f, e in zip(found, expected, strict=True)
    )


def check_bits() -> bool:
    """A trial has the same bits alone and in packs, beside NaN and with more columns of zeros."""
    given, weights = problem(130, 13, 7, (8,))
    given, weights = on(given, torch.float32), on(weights, torch.float32)
    pack = results(ON_GPU, given, weights)
    alone = results(ON_GPU, [x[3] for x in given], [x[3] for x in weights])
    broken = [x.clone() for x in given]
    broken[1][2, 100, 3] = torch.nan
    beside = results(ON_GPU, broken, weights)
    wide = torch.nn.functional.pad(given[1], (0, 3))
    columns = [*range(13), *range(16, 23)]
    padded = ON_GPU(given[0], wide, given[2])[:2]
    return (
        all(torch.equal(p[3], a) for p, a in zip(pack, alone, strict=True))
        and all(torch.equal(p[3:], b[3:]) for p, b in zip(pack, beside, strict=True))
        and bool(beside[0][2].isnan().any())
        and all(torch.equal(p[..., columns], e) for p, e in zip(padded, pack[:2], strict=True))
    )


def check_launches() -> bool:
    """A transition starts two kernels forward, two backward, and one that adds two gradients of sigma."""
    net = SpectralRNN(3, 128, reflectors=16, device=CUDA)
    parameters = [*net.reflector_parameters(), *net.singular_parameters()]

    def whole() -> None:
        made = factors(net.transition())
        torch.autograd.grad(list(made), parameters, given)
        net.normalize_()

    given = [torch.ones_like(x) for x in factors(net.transition())]
    for _ in range(3):
        whole()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiled:
        whole()
        torch.cuda.synchronize()
    names = [event.name for event in profiled.events() if event.device_type == DeviceType.CUDA]
    print(*names)
    return len(names) <= 6


def main() -> int:
    """Run every check and return how many failed."""
    sizes = [(16, 1, 1), (50, 5, 0), (33, 32, 7), (128, 16, 16), (512, 16, 16), (1024, 32, 32)]
    checks = [
        *((check_agreement, *s, *o) for s, *o in itertools.product(sizes, [(), (32,)], [torch.float32, torch.float64])),
        (check_bits,),
        (check_launches,),
    ]
    failed = 0
    for check, *given in checks:
        passed = check(*given)
        print("passed" if passed else "FAILED", check.__name__, *given, flush=True)
        failed += not passed
    return failed


if __name__ == "__main__":
    sys.exit(main())

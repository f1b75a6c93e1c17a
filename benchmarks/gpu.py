"""Benchmarks G1, G2 and G3 on one GPU; they need torch, triton and numpy alone. See docs/benchmarks.md.

python -m benchmarks.gpu [--quick] [--write docs/benchmarks.md]
TRITON_INTERPRET=1 python -m benchmarks.gpu     # without a GPU: only the comparison with the reference, at tiny sizes
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from benchmarks import gpu_sharing, machine, peers, results
from benchmarks.results import Row, row
from benchmarks.shapes import Shape
from spectral import BACKENDS, Activation, SpectralRNN, recurrence
from spectral.transition import Transition

BACKEND = "triton"
INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"
G1 = {
    Shape(128, 16, 784, 128): 1.0,
    Shape(256, 16, 784, 128): 1.0,
    Shape(512, 16, 784, 128): 0.33,
    Shape(1024, 16, 784, 128): 0.33,
}
"""Shapes of G1, with the most time that ours may take relative to cuDNN."""
G2 = (Shape(128, 16, 784, 128), Shape(256, 16, 784, 128), Shape(512, 16, 784, 128))
MICROSECONDS_A_STEP, OVER_LITERAL = 1.0, 200.0
G3 = Shape(128, 16, 784, 32)
TRIALS, PROCESSES = 32, 4
LAWS = (
    Shape(128, 16, 50, 8),
    Shape(256, 16, 50, 8),
    Shape(512, 16, 50, 8),
    Shape(1024, 16, 20, 8),
    Shape(100, 5, 30, 3),
)
TINY = (Shape(16, 2, 5, 3), Shape(24, 3, 4, 2))
Contenders = Mapping[str, Callable[[], object]]


def main() -> None:
    """Run the chosen benchmarks and save their results."""
    options = _options()
    if BACKEND not in BACKENDS:
        raise SystemExit(f"the backend {BACKEND!r} is not available; available are {', '.join(BACKENDS)}")
    if not torch.cuda.is_available():
        if not INTERPRETED:
            raise SystemExit(
                "torch finds no GPU. Set TRITON_INTERPRET=1 to check the kernels on the CPU; nothing is timed."
            )
        require_laws(TINY, torch.device("cpu"))
        print("No GPU: the kernels ran in Triton's interpreter and agree with the reference. Nothing was timed.")
        return
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    device = torch.device("cuda")
    header = machine.describe("triton", "numpy") | {"precision": "float32, TF32 off for both sides"}
    require_laws(LAWS, device)
    rows: list[Row] = []
    if "G1" in options.only:
        rows += against_cudnn(options.rounds, device, quick=options.quick)
    if "G2" in options.only:
        rows += a_step(options.rounds, device, quick=options.quick)
    if "G3" in options.only:
        rows += packed(options.rounds, device, quick=options.quick)
    path = options.out / ("bench-gpu-quick.json" if options.quick else "bench-gpu.json")
    results.show(results.save(rows, header, path), header)
    if options.write and not options.quick:
        results.write_section(options.write, "bench-gpu", path)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="short sequences, to show that everything runs; the times mean nothing"
    )
    parser.add_argument(
        "--only", nargs="+", choices=("G1", "G2", "G3"), default=("G1", "G2", "G3"), help="run these alone"
    )
    parser.add_argument("--rounds", type=int, default=9, help="samples of each contender")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder of the results")
    parser.add_argument("--write", type=Path, help="put the results into this document")
    return parser.parse_args()


def require_laws(shapes: tuple[Shape, ...], device: torch.device) -> None:
    """Compare states and gradients with the float64 reference, alone and in a pack of two; exit if they differ.

    The activation is tanh: one flipped sign of a relu would change a gradient more than rounding does.
    """
    for at in shapes:
        for lead in ((), (2,)):
            worst = _error(at, lead, device)
            if not worst < 2e-4:
                raise SystemExit(f"{BACKEND} and the reference differ by {worst:.2g} at {at}, so nothing is timed.")
            print(f"  law: {at}{' pack of 2' if lead else ''}: {worst:.1e}", flush=True)


def _error(at: Shape, lead: tuple[int, ...], device: torch.device) -> float:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*lead, *shape, dtype=torch.float64, generator=generator).to(device)

    sigma, u, v = 1 + 0.01 * draw(at.n), draw(at.n, at.m), draw(at.n, at.m)
    z, h0, seen = 0.1 * draw(at.T, at.B, at.n), draw(at.B, at.n), draw(at.T, at.B, at.n)

    def run(dtype: torch.dtype, backend: str) -> list[torch.Tensor]:
        leaves = [t.to(dtype).detach().requires_grad_() for t in (z, h0, sigma, u, v)]
        states = recurrence(leaves[0], leaves[1], Transition(*leaves[2:]), Activation("tanh"), backend=backend)
        return [states.detach(), *torch.autograd.grad(states, leaves, seen.to(dtype))]

    pairs = zip(run(torch.float32, BACKEND), run(torch.float64, "reference"), strict=True)
    return max(float((a.double() - b).norm() / b.norm()) for a, b in pairs)


def interleave(contenders: Contenders, rounds: int, calls: int = 3) -> dict[str, list[float]]:
    """Return samples of milliseconds per call by CUDA events; contenders take turns after two warm-up calls each."""
    for contender in contenders.values():
        contender()
        contender()
    torch.cuda.synchronize()
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    gc.disable()
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            start.record()
            for _ in range(calls):
                contenders[name]()
            end.record()
            end.synchronize()
            samples[name].append(start.elapsed_time(end) / calls)
    gc.enable()
    return samples


def _ratio(over: list[float], under: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def _net(at: Shape, device: torch.device, backend: str = BACKEND) -> SpectralRNN:
    return at.net(backend, device=device)


def against_cudnn(rounds: int, device: torch.device, *, quick: bool) -> list[Row]:
    """Run G1: training steps against cuDNN, with the Triton backend and with the one that is chosen by default."""
    rows = []
    for at, bound in G1.items():
        at = at._replace(T=20) if quick else at
        net, x = _net(at, device), at.input().to(device)
        layers = {"ours": peers.spectral(net, BACKEND), "auto": peers.spectral(net), "nn.RNN": peers.elman(net)}
        layers["nn.LSTM"] = peers.lstm(net)
        for reads, what in (("last", "last state"), ("all", "all states")):
            steps = {name: peers.training_step(layer, x, reads=reads) for name, layer in layers.items()}
            samples = interleave(steps, rounds)
            for ours, peer in (("ours", "nn.RNN"), ("auto", "nn.RNN"), ("ours", "nn.LSTM")):
                main = ours == "ours" and peer == "nn.RNN"
                id = ("G1" if reads == "last" else "G1-all") if main else "G1-peers"
                method = f"ms a step, {what}, {BACKEND if ours == 'ours' else 'auto'}; cuDNN {peer}"
                mine, theirs = (statistics.median(samples[name]) for name in (ours, peer))
                ratio = _ratio(samples[ours], samples[peer])
                rows.append(row(id, str(at), mine, theirs, ratio, method, at_most=bound if main else None))
    return rows


def a_step(rounds: int, device: torch.device, *, quick: bool) -> list[Row]:
    """Run G2: microseconds per time step and direction, and the literal method in eager torch."""
    rows = []
    for at in G2:
        at = at._replace(T=20) if quick else at
        net, x = _net(at, device), at.input().to(device)
        layer = peers.spectral(net, BACKEND)

        def forward(layer: peers.Layer = layer, x: torch.Tensor = x) -> None:
            with torch.no_grad():
                layer.run(x)

        whole = peers.training_step(layer, x, reads="last")
        samples = interleave({"forward": forward, "both": whole}, rounds)
        there = [1e3 * t / at.T for t in samples["forward"]]
        back = [1e3 * (b - f) / at.T for b, f in zip(samples["both"], samples["forward"], strict=True)]
        for name, times in (("forward", there), ("backward", back)):
            us = statistics.median(times)
            method = f"us a time step, {name}, whole layer with its transition; the bound"
            over = us / MICROSECONDS_A_STEP
            rows.append(row("G2", str(at), us, MICROSECONDS_A_STEP, over, method, at_most=1.0))
        literal = peers.training_step(peers.literal(net), x, reads="last")
        slow = interleave({"literal": literal}, 3, 1)["literal"]
        ours, peer = statistics.median(samples["both"]), statistics.median(slow)
        method = "ms a step, last state; literal in eager torch over ours"
        rows.append(row("G2-literal", str(at), ours, peer, peer / ours, method, at_least=OVER_LITERAL))
    return rows


def packed(rounds: int, device: torch.device, *, quick: bool) -> list[Row]:
    """Run G3: a step with Adam of trials in a pack, one after another, and in processes that share the GPU."""
    at = G3._replace(T=20) if quick else G3
    together, alone = gpu_sharing.pack(at, TRIALS, device), gpu_sharing.one_by_one(at, TRIALS, device)
    samples = interleave({"pack": together, "alone": alone}, rounds, 1)
    ours, peer = (statistics.median(samples[name]) for name in ("pack", "alone"))
    ratio = _ratio(samples["alone"], samples["pack"])
    method = f"ms for a step of {TRIALS} trials, Adam included; one after another over packed"
    rows = [row("G3", str(at), ours, peer, ratio, method, at_least=16.0)]
    shared = gpu_sharing.processes(at, TRIALS, PROCESSES, rounds)
    method = f"ms for a step of {TRIALS} trials, Adam included; {PROCESSES} processes sharing the GPU over packed"
    return [*rows, row("G3-processes", str(at), ours, shared, shared / ours, method, at_least=3.0)]


if __name__ == "__main__":
    main()

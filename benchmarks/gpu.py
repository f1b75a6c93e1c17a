"""Benchmarks G1, G2 and G3 on one GPU; they need torch, triton and numpy alone. See docs/benchmarks.md.

python -m benchmarks.gpu [--quick] [--only G1 G3] [--write docs/benchmarks.md]
TRITON_INTERPRET=1 python -m benchmarks.gpu     # without a GPU: only the comparison with the reference, at tiny sizes

Every step is timed eagerly, that is with one launch from Python for every kernel, and as a CUDA graph, which the
trainer uses. cuDNN's figure is the faster of its two.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks import gpu_compile, gpu_laws, gpu_sharing, machine, peers, results
from benchmarks.gpu_laws import LAWS, TINY, require_laws
from benchmarks.gpu_timing import both_ways, faster, interleave, kernels_of
from benchmarks.results import Row, row
from benchmarks.shapes import Shape
from spectral import SpectralRNN
from spectral.recurrence.choice import choose_on_gpu

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"
G1 = {
    Shape(128, 16, 784, 128): 0.75,
    Shape(256, 16, 784, 128): 0.45,
    Shape(512, 16, 784, 128): 0.08,
    Shape(1024, 16, 784, 128): 0.12,
    Shape(128, 64, 784, 128): 1.0,
    Shape(170, 42, 784, 128): 1.0,
    Shape(256, 64, 784, 128): 1.0,
}
"""Shapes of G1, with the most time that ours may take relative to cuDNN."""
G2 = {Shape(128, 16, 784, 128): 0.7, Shape(256, 16, 784, 128): 1.0, Shape(512, 16, 784, 128): 1.4}
"""Shapes of G2, with the most microseconds for a time step in one direction."""
OVER_LITERAL = 2000.0
G3 = Shape(128, 16, 784, 32)
PACKS = {32: 3.2, 128: 10.0}
"""Trials of G3, with the most milliseconds for a step of all of them."""
TRIALS, PROCESSES, OVER_ONE_BY_ONE, OVER_PROCESSES = 32, 4, 12.0, 3.0
QUICK = (Shape(128, 16, 20, 128), Shape(170, 42, 20, 128))
SHOWN_KERNELS = 8
SECTIONS = ("G1", "G2", "G3", "profile")


def main() -> None:
    """Run the chosen benchmarks and save their results."""
    options = _options()
    if not torch.cuda.is_available():
        if not INTERPRETED:
            raise SystemExit(
                "torch finds no GPU. Set TRITON_INTERPRET=1 to check the kernels on the CPU; nothing is timed."
            )
        require_laws(dict.fromkeys(LAWS, TINY), torch.device("cpu"))
        print("No GPU: the kernels ran in Triton's interpreter and agree with the reference. Nothing was timed.")
        return
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    device = torch.device("cuda")
    header = machine.describe("triton", "numpy") | {"precision": "float32, TF32 off for both sides"}
    laws = {name: shapes[:1] for name, shapes in LAWS.items()} if options.quick else LAWS
    gpu_compile.run(_jobs(laws, options.only, quick=options.quick))
    require_laws(laws, device)
    rows: list[Row] = []
    if "G1" in options.only:
        rows += against_cudnn(options.rounds, device, quick=options.quick)
    if "G2" in options.only:
        rows += a_step(options.rounds, device, quick=options.quick)
    if "G3" in options.only:
        rows += packed(options.rounds, device, quick=options.quick)
    if "profile" in options.only:
        rows += by_kernel(device, quick=options.quick)
    path = options.out / ("bench-gpu-quick.json" if options.quick else "bench-gpu.json")
    results.show(results.save(rows, header, path), header)
    if options.write and not options.quick:
        results.write_section(options.write, "bench-gpu", path, others=[options.out / "bench-gpu-trainer.json"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="short sequences, to show that everything runs; the times mean nothing"
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="run these alone")
    parser.add_argument("--rounds", type=int, default=7, help="samples of each contender")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder of the results")
    parser.add_argument("--write", type=Path, help="put the results, and those of gpu_trainer, into this document")
    return parser.parse_args()


def _jobs(laws: Mapping[str, Sequence[Shape]], sections: Sequence[str], *, quick: bool) -> list[Callable[[], object]]:
    """Return a call for each kernel that will have to be compiled."""
    device = torch.device("cuda")
    shapes = QUICK if quick else tuple(dict.fromkeys((*G1, *G2, G3)))
    jobs: list[Callable[[], object]] = [
        partial(gpu_laws.error, at, lead, backend, device)
        for backend, several in laws.items()
        for at in several
        for lead in gpu_laws.LEADS
    ]
    jobs += [partial(gpu_compile.step, at, reads) for at in shapes for reads in ("last", "all")]
    if "G3" in sections:
        jobs += [partial(gpu_compile.packed_step, _short(G3, quick=quick), trials) for trials in PACKS]
    return jobs


def _short(at: Shape, *, quick: bool) -> Shape:
    return at._replace(T=20) if quick else at


def _backend(at: Shape, trials: int = 1) -> str:
    """Return the backend that 'auto' chooses on a GPU."""
    return choose_on_gpu(at.n, 2 * at.m, "relu", can_triton=True, pack=trials > 1)


def against_cudnn(rounds: int, device: torch.device, *, quick: bool) -> list[Row]:
    """Run G1: training steps against cuDNN."""
    rows = []
    for at in QUICK if quick else G1:
        bound = G1.get(at._replace(T=784))
        net, x = at.net(device=device), at.input().to(device)
        layers = {"ours": peers.spectral(net), "nn.RNN": peers.elman(net)}
        for reads, what in (("last", "last state"), ("all", "all states")):
            steps = both_ways({name: peers.training_step(layer, x, reads=reads) for name, layer in layers.items()})
            samples = interleave(steps, rounds, 3 if at.n <= 256 else 1)
            peer_way, peer = faster(samples, "nn.RNN")
            for way in ("graph", "eager"):
                id = ("G1" if reads == "last" else "G1-all") + ("" if way == "graph" else "-eager")
                method = f"ms a step, {what}, {_backend(at)}, {way}; cuDNN nn.RNN, {peer_way}"
                rows.append(_against(id, at, samples[f"ours, {way}"], peer, method, bound))
            if reads == "last":
                for name in ("nn.RNN, eager", "nn.RNN, graph"):
                    mine = faster(samples, "ours")
                    method = f"ms a step, {what}, {_backend(at)}, {mine[0]}; cuDNN {name}"
                    rows.append(_against("G1-peers", at, mine[1], samples[name], method, None))
            del steps  # the graphs keep their memory
            torch.cuda.empty_cache()
    return rows


def _against(id: str, at: Shape, ours: list[float], peer: list[float], method: str, bound: float | None) -> Row:
    """Return a row of ours over the peer's."""
    ratio = statistics.median(a / b for a, b in zip(ours, peer, strict=True))
    return row(id, str(at), statistics.median(ours), statistics.median(peer), ratio, method, at_most=bound)


def a_step(rounds: int, device: torch.device, *, quick: bool) -> list[Row]:
    """Run G2: microseconds per time step and direction, and the literal method in eager torch."""
    rows = []
    for at in QUICK[:1] if quick else G2:
        bound = G2[at._replace(T=784)]
        net, x = at.net(device=device), at.input().to(device)
        layer = peers.spectral(net)

        def forward(layer: peers.Layer = layer, x: torch.Tensor = x) -> None:
            with torch.no_grad():
                layer.run(x)

        steps = both_ways({"forward": forward, "both": peers.training_step(layer, x, reads="last")})
        samples = interleave(steps, rounds)
        for way in ("graph", "eager"):
            there = [1e3 * t / at.T for t in samples[f"forward, {way}"]]
            pairs = zip(samples[f"both, {way}"], samples[f"forward, {way}"], strict=True)
            back = [1e3 * (both - forward) / at.T for both, forward in pairs]
            for name, times in (("forward", there), ("backward", back)):
                us = statistics.median(times)
                method = f"us a time step, {name}, whole layer with its transition, {way}; the bound"
                id = "G2" if way == "graph" else "G2-eager"
                rows.append(row(id, str(at), us, bound, us / bound, method, at_most=1.0))
        ours = statistics.median(faster(samples, "both")[1])
        peer = _literal(net, x)
        method = f"ms a step, last state; literal in eager torch, one call, over ours, {faster(samples, 'both')[0]}"
        rows.append(row("G2-literal", str(at), ours, peer, peer / ours, method, at_least=OVER_LITERAL))
        del steps
    return rows


def _literal(net: SpectralRNN, x: torch.Tensor) -> float:
    """Return the milliseconds of one training step by the literal method: it takes seconds, so one is enough."""
    layer = peers.literal(net)
    peers.training_step(layer, x[:4], reads="last")()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    peers.training_step(layer, x, reads="last")()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))


def packed(rounds: int, device: torch.device, *, quick: bool) -> list[Row]:
    """Run G3: a step with Adam of trials in a pack, one after another, and in processes that share the GPU."""
    at, rows = _short(G3, quick=quick), []
    ours: list[float] = []
    for trials, bound in PACKS.items():
        steps = both_ways({"pack": gpu_sharing.pack(at, trials, device)})
        samples = interleave(steps, rounds, 1)
        del steps
        torch.cuda.empty_cache()
        for way in ("graph", "eager"):
            took = statistics.median(samples[f"pack, {way}"])
            method = f"ms for a step of {trials} trials, Adam included, {_backend(at, trials)}, {way}; the bound"
            id = "G3" if way == "graph" else "G3-eager"
            rows.append(row(id, _pack(at, trials), took, bound, took / bound, method, at_most=1.0))
        if trials == TRIALS:
            ours = faster(samples, "pack")[1]
    mine = statistics.median(ours)
    alone = {
        "ours": gpu_sharing.one_by_one(at, TRIALS, device),
        "nn.RNN": gpu_sharing.torch_one_by_one(at, TRIALS, device, graph=False),
        "nn.RNN, graph": gpu_sharing.torch_one_by_one(at, TRIALS, device, graph=True),
    }
    times = {name: statistics.median(took) for name, took in interleave(alone, min(rounds, 5), 1).items()}
    way = min(("nn.RNN", "nn.RNN, graph"), key=lambda name: times[name])
    for name, took in times.items():
        method = f"ms for a step of {TRIALS} trials, Adam included; {name}, one after another over packed"
        least = OVER_ONE_BY_ONE if name == way else None
        rows.append(row("G3-alone", _pack(at, TRIALS), mine, took, took / mine, method, at_least=least))
    if not quick:
        shared = gpu_sharing.processes(at, TRIALS, PROCESSES, rounds)
        method = f"ms for a step of {TRIALS} trials, Adam included; {PROCESSES} processes sharing the GPU over packed"
        found = row("G3-processes", _pack(at, TRIALS), mine, shared, shared / mine, method, at_least=OVER_PROCESSES)
        rows.append(found)
    return rows


def _pack(at: Shape, trials: int) -> str:
    return f"K={trials} {at}"


def by_kernel(device: torch.device, *, quick: bool) -> list[Row]:
    """Return how many kernels a step launches and which ones take its time, for ours and for cuDNN."""
    rows = []
    for at in QUICK if quick else G1:
        net, x = at.net(device=device), at.input().to(device)
        layers = {_backend(at): peers.spectral(net), "cuDNN": peers.elman(net)}
        for name, layer in layers.items():
            if name != "cuDNN" or at.n <= 256:  # above, cuDNN launches thousands of kernels
                rows += _kernels(str(at), name, peers.training_step(layer, x, reads="last"))
    for trials in PACKS:
        at = _short(G3, quick=quick)
        rows += _kernels(_pack(at, trials), "pack with Adam", gpu_sharing.pack(at, trials, device))
        torch.cuda.empty_cache()
    return rows


def _kernels(shape: str, name: str, step: Callable[[], None]) -> list[Row]:
    found = kernels_of(step)
    launches, took = sum(kernel.launches for kernel in found), sum(kernel.milliseconds for kernel in found)
    rows = [row("G-kernels", shape, took, None, None, f"ms of all {launches:.0f} kernels of a step, {name}")]
    for kernel in found[:SHOWN_KERNELS]:
        method = f"ms of {kernel.launches:.0f} launches, {name}: {kernel.name[:80]}"
        rows.append(row("G-kernels", shape, kernel.milliseconds, None, None, method))
    return rows


if __name__ == "__main__":
    main()

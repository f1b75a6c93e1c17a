"""Benchmarks P1, P2, P3, P5 and growth: the recurrence against torch.nn.RNN and others. See docs/benchmarks.md.

python -m benchmarks.recurrence [--quick] [--only P1 P3] [--write docs/benchmarks.md]
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from benchmarks import growth, laws, machine, memory, peers, results, timing
from benchmarks.results import Row, row
from benchmarks.shapes import ALL_STATES, P1, P3, P5, QUICK, Shape
from spectral import SpectralRNN, Transition
from spectral.cpu import library
from spectral.recurrence import native
from spectral.transition import factors

PARTS = ("P1", "P3", "P5", "growth")
LOSS = "loss alone"
READS = {"last": "last state", "all": "all states"}
"""What the loss of a training step reads."""


def main() -> None:
    """Run the chosen benchmarks and save their results."""
    options = _options()
    table = QUICK if options.quick else P1
    header = machine.describe("numpy") | {"torch threads": "1 for CPU time, 2 for wall time"}
    if not options.trust:
        laws.require_law_suite({at.backend() if options.backend == "auto" else options.backend for at in table})
    path = options.out / ("bench-quick.json" if options.quick else "bench.json")
    for part in options.only:
        results.save(_part(part, options), header, path)
    results.show(results.load(path), header)
    if options.write and not options.quick:
        results.write_section(options.write, "bench", path)
        if "growth" in options.only and (options.out / growth.PLOT).exists():
            shutil.copy(options.out / growth.PLOT, options.write.parent / "images" / "growth.png")


def _part(part: str, options: argparse.Namespace) -> list[Row]:
    quick = options.quick
    if part == "P1":
        return steps(QUICK if quick else P1, options.rounds, options.backend)
    if part == "P3":
        return builds((Shape(32, 4, 20, 4),) if quick else P3, options.rounds, options.backend)
    if part == "P5":
        long = memory.measure_long(Shape(32, 4, 400, 4), 10) if quick else memory.measure_long()
        return [*memory.measure((Shape(64, 4, 200, 32),) if quick else P5), long]
    return growth.measure(growth.QUICK if quick else growth.AXES, options.rounds, options.out, options.backend)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recurrence", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, to show that everything runs; the times mean nothing"
    )
    parser.add_argument("--trust", action="store_true", help="do not run the law suite first")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="run these alone; P1 includes P2")
    parser.add_argument(
        "--backend", default="auto", help="backend of our layer (default: the one that is chosen for each shape)"
    )
    parser.add_argument("--rounds", type=int, default=7, help="samples of each contender")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder of the results and plots")
    parser.add_argument("--write", type=Path, help="put the results into this document")
    return parser.parse_args()


def steps(table: Mapping[Shape, float], rounds: int, backend: str, *, only_rnn: bool = False) -> list[Row]:
    """Return the rows of P1, for every peer, and of P2, over all shapes.

    With ``only_rnn`` they are those against nn.RNN on one thread, which take a tenth of the time.
    """
    rows, over_literal = [], []
    peak = library.peak(torch.float32) if native.available(torch.device("cpu"), torch.float32) else 0.0
    for at, bound in table.items():
        for reads in READS:
            samples = _time(at, reads, rounds, backend, only_rnn=only_rnn)
            rows += _against(at, reads, samples, bound if reads == "last" else ALL_STATES * bound, backend)
            if peak:
                rows.append(_floor(at, reads, samples, peak))
            if not only_rnn:
                over_literal.append(1 / timing.ratio(samples["ours"], samples["literal"]))
        over_rnn = next(line.ratio for line in rows if line.id == "P1" and line.shape == str(at))
        if only_rnn:
            print(f"  {at}: {over_rnn:.3g} of nn.RNN", flush=True)
            continue
        rows.append(_two_threads(at, rounds, backend))
        print(f"  {at}: {over_rnn:.3g} of nn.RNN, {over_literal[-2]:.3g} times the literal method", flush=True)
    if only_rnn:
        return rows
    method = f"literal over ours, geometric mean of {len(table)} shapes with both losses"
    mean = timing.geometric_mean(over_literal)
    worst = f"; from {min(over_literal):.3g} to {max(over_literal):.3g}"
    return [*rows, row("P2", "all of P1", None, None, mean, method + worst, at_least=35)]


def _time(at: Shape, reads: str, rounds: int, backend: str, *, only_rnn: bool) -> timing.Samples:
    torch.manual_seed(0)
    net, x = at.net(backend), at.input()
    layers = peers.contenders(net, backend)
    if only_rnn:
        layers = {name: layers[name] for name in ("ours", "nn.RNN")}
    laws.require_agreement(layers, peers.spectral(net, "reference"))
    contenders = {name: peers.training_step(layer, x, reads=reads) for name, layer in layers.items()}
    if reads == "all":
        contenders[LOSS] = _loss_alone(at)
    with timing.threads(1):
        return timing.interleave(contenders, rounds)


def _loss_alone(at: Shape) -> timing.Contender:
    """Return a function that computes the loss on all states, and its gradient, of states that are there already."""
    states = torch.rand(at.T, at.B, at.n, generator=torch.Generator().manual_seed(2)).requires_grad_()

    def loss() -> None:
        states.grad = None
        states.square().mean().backward()  # type: ignore[no-untyped-call]

    return loss


def _against(at: Shape, reads: str, samples: timing.Samples, bound: float, backend: str) -> list[Row]:
    """Return a row for nn.RNN with P1's bound, and one without a bound for every other peer."""
    used = at.backend() if backend == "auto" else backend
    rows = []
    for name in samples:
        if name in ("ours", LOSS):
            continue
        ours, peer = 1e3 * timing.median(samples["ours"]), 1e3 * timing.median(samples[name])
        ratio = timing.ratio(samples["ours"], samples[name])
        method = f"CPU ms a step, {READS[reads]}, {used}; {name}"
        counts = name == "nn.RNN"
        id = "P1" if counts and reads == "last" else "P1-all" if counts else "P1-peers"
        rows.append(row(id, str(at), ours, peer, ratio, method, at_most=bound if counts else None))
    return rows


def _floor(at: Shape, reads: str, samples: timing.Samples, peak: float) -> Row:
    """Return our step over its floor: its multiply-adds at the rate of multiply-adds alone, and torch's loss."""
    ours, floor = 1e3 * timing.median(samples["ours"]), 1e3 * at.operations() / peak
    method = f"CPU ms a step, {READS[reads]}; its arithmetic at {peak / 1e9:.0f} Gflop/s"
    if LOSS in samples:
        loss = 1e3 * timing.median(samples[LOSS])
        floor, method = floor + loss, f"{method}, and {loss:.3g} ms for the loss and its gradient in torch"
    of_peer = floor / (1e3 * timing.median(samples["nn.RNN"]))
    return row("P1-floor", str(at), ours, floor, ours / floor, f"{method}; {of_peer:.3g} of nn.RNN")


def _two_threads(at: Shape, rounds: int, backend: str) -> Row:
    net, x = at.net(backend), at.input()
    layers = {"ours": peers.spectral(net, backend), "nn.RNN": peers.elman(net)}
    contenders = {name: peers.training_step(layer, x, reads="last") for name, layer in layers.items()}
    with timing.threads(2):
        samples = timing.interleave(contenders, rounds, time.perf_counter)
    ours, peer = (1e3 * timing.median(samples[name]) for name in ("ours", "nn.RNN"))
    method = f"wall ms a step on two threads, {READS['last']}; nn.RNN"
    return row("P1-wall", str(at), ours, peer, timing.ratio(samples["ours"], samples["nn.RNN"]), method)


def builds(shapes: tuple[Shape, ...], rounds: int, backend: str) -> list[Row]:
    """Return the rows of P3: forming W and its gradient, against the peers and as a share of a training step."""
    rows = []
    for at in shapes:
        net = at.net(backend)
        contenders = {
            "ours": _build_ours(net),
            "step": peers.training_step(peers.spectral(net), at.input(), reads="last"),
        }
        contenders |= {name: _build_dense(net, product) for name, product in peers.products().items()}
        with timing.threads(1):
            samples = timing.interleave(contenders, rounds)
        ours = 1e3 * timing.median(samples["ours"])
        for name in peers.products():
            method = f"CPU ms of a build, both ways; {name} over ours"
            bound = 20.0 if name == "householder_product" else None
            faster = timing.ratio(samples[name], samples["ours"])
            rows.append(row("P3", str(at), ours, 1e3 * timing.median(samples[name]), faster, method, at_least=bound))
        share = timing.ratio(samples["ours"], samples["step"])
        method = "CPU ms: build, both ways, over the whole step"
        rows.append(row("P3-share", str(at), ours, 1e3 * timing.median(samples["step"]), share, method, at_most=0.03))
    return rows


def _build_ours(net: SpectralRNN) -> timing.Contender:
    sigma, u, v = (t.detach().clone().requires_grad_() for t in net.transition())

    def build() -> None:
        _, a, c = factors(Transition(sigma, u, v))
        torch.autograd.grad([a, c], [sigma, u, v], [torch.ones_like(a), torch.ones_like(c)])

    return build


def _build_dense(net: SpectralRNN, product: peers.Product) -> timing.Contender:
    sigma, u, v = (t.detach().clone().requires_grad_() for t in net.transition())

    def build() -> None:
        w = peers.dense_transition(product, sigma, u, v)
        torch.autograd.grad([w], [sigma, u, v], [torch.ones_like(w)])

    return build


if __name__ == "__main__":
    main()

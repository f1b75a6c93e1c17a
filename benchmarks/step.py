"""Benchmark P7: one time step for serving, at batch 1 on one thread. See docs/benchmarks.md.

python -m benchmarks.step [--quick] [--rounds 21] [--out build]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

from benchmarks import machine, results, timing
from benchmarks.results import Row, row
from spectral import SpectralGRU, SpectralLSTM, SpectralRNN

KINDS = {"RNN": (SpectralRNN, nn.RNNCell), "LSTM": (SpectralLSTM, nn.LSTMCell), "GRU": (SpectralGRU, nn.GRUCell)}
SIZES, QUICK = (128, 256, 512, 1024), (16,)
FEATURES, REFLECTORS = 8, 16
MICROSECONDS = 20
"""The bound on a step of an RNN with n = 128."""


def main() -> None:
    """Run the benchmark and save its results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny size, to show that everything runs")
    parser.add_argument("--rounds", type=int, default=21, help="samples of each contender")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder of the results")
    options = parser.parse_args()
    header = machine.describe("numpy") | {"torch threads": "1"}
    rows = [line for n in (QUICK if options.quick else SIZES) for kind in KINDS for line in measure(kind, n, options)]
    path = options.out / ("bench-quick.json" if options.quick else "bench.json")
    results.save(rows, header, path)
    results.show(rows, header)


def measure(kind: str, n: int, options: argparse.Namespace) -> list[Row]:
    """Return the rows of one kind and size: the chosen form over torch's cell, dense over factored, and the bound."""
    torch.manual_seed(0)
    ours, cell = KINDS[kind]
    net = ours(FEATURES, n, reflectors=REFLECTORS)
    steps = {"ours": net.to_step(), "dense": net.to_step(dense=True), "factored": net.to_step(dense=False)}
    states = (torch.zeros(1, n), torch.zeros(1, n)) if kind == "LSTM" else torch.zeros(1, n)
    x, modules = torch.randn(1, FEATURES), {**steps, "cell": cell(FEATURES, n)}
    for step in steps.values():
        torch.testing.assert_close(step(x, states)[0], net(x)[0], rtol=1e-4, atol=1e-5)
    # A contender is one call: module, x and states are bound as defaults, since the loop would change them.
    contenders = {name: lambda module=module: module(x, states) for name, module in modules.items()}
    with timing.threads(1), torch.inference_mode():
        samples = timing.interleave(contenders, options.rounds)
    taken = {name: 1e6 * timing.median(sample) for name, sample in samples.items()}
    at = results.shape(n=n, m=REFLECTORS, B=1, kind=kind)
    over_cell = timing.ratio(samples["ours"], samples["cell"])
    over_factored = timing.ratio(samples["dense"], samples["factored"])
    form = "dense" if steps["ours"].weight_hh is not None else "factored"
    rows = [
        row("P7-cell", at, taken["ours"], taken["cell"], over_cell, f"CPU us a step, {form}; nn.{kind}Cell"),
        row("P7-form", at, taken["factored"], taken["dense"], over_factored, "CPU us a step, factored; dense"),
    ]
    if (kind, n) == ("RNN", 128):
        method = f"CPU us a step, {form}, over {MICROSECONDS} us"
        rows.append(row("P7", at, taken["ours"], None, taken["ours"] / MICROSECONDS, method, at_most=1))
    return rows


if __name__ == "__main__":
    main()

"""Checks before anything is timed: the law suite of a backend, and agreement of the peers with our layer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping

import torch

from benchmarks.peers import Layer
from study.machine import ROOT

SUITE = "tests/spectral/recurrence/test_recurrence.py"
NOT_THE_SAME_FUNCTION = "nn.LSTM"


def require_law_suite(backends: Iterable[str]) -> None:
    """Run the law suite for these backends and exit the program if it fails.

    ``reference``, with which the suite compares the others, is left out. If no other is named, nothing is run.
    """
    names = sorted(set(backends) - {"reference"})
    if not names:
        return
    expression = " or ".join(names)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", SUITE, "-k", expression]
    print(f"Running the law suite of {', '.join(names)} ...", flush=True)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    tail = "\n".join(done.stdout.splitlines()[-15:])
    if done.returncode:
        raise SystemExit(f"{tail}\n{done.stderr[-2000:]}\nThe law suite of {expression} fails, so nothing is timed.")
    print(tail.splitlines()[-1], flush=True)


def require_agreement(layers: Mapping[str, Layer], reference: Layer, steps: int = 40, batch: int = 3) -> None:
    """Exit the program unless our layer and every peer but nn.LSTM compute the reference's states for a random input.

    Allowed is an error of 1e-3 relative to the largest state.
    """
    like = layers["ours"].parameters[0]
    x = torch.randn(steps, batch, 1, dtype=like.dtype, device=like.device)
    with torch.no_grad():
        expected = reference.run(x)[0]
        for name, layer in layers.items():
            if name == NOT_THE_SAME_FUNCTION:
                continue
            error = float((layer.run(x)[0] - expected).abs().max() / expected.abs().max())
            if not error < 1e-3:
                raise SystemExit(
                    f"the states of {name} and the reference differ by a relative {error:.2g}, so nothing is timed."
                )

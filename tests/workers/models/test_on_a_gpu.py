"""On a GPU, every kind of network trains, in float32 and in mixed precision, with and without lengths."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

CHECK = """
import torch
from workers.models import initial_network, pack
from workers.spec.model import KINDS
from workers.spec.trial import Objective, TrialSpec

def network(kind, seed, dtype):
    document = {
        "number": 0, "params": {}, "task": {"name": "adding", "length": 12},
        "model": {"kind": kind, "hidden_size": 16, **({"layers": 2} if kind.endswith(("mlp", "resnet")) else {})},
        "training": {"seed": seed, "dtype": dtype}, "objective": {"metric": "val/loss", "direction": "minimize"},
    }
    return initial_network(TrialSpec.model_validate(document)).cuda()

for kind in sorted(KINDS):
    for dtype in ("float32", "bfloat16"):
        packed = pack([network(kind, seed, dtype) for seed in range(2)])
        inputs = torch.randn(2, 4, 12, 2, device="cuda")
        for lengths in (None, torch.tensor([[12, 7, 3, 1], [5, 12, 12, 2]], device="cuda")):
            if lengths is not None and kind.endswith(("mlp", "resnet")):
                continue
            with torch.autocast("cuda", torch.bfloat16, enabled=dtype == "bfloat16"):
                read, state = packed.read(inputs, packed.zeros(4), lengths, every=False)
                loss = packed.read_out(read).float().square().mean()
            gradients = torch.autograd.grad(loss, list(packed.parameters.values()))
            assert loss.isfinite(), (kind, dtype)
            assert all(gradient.isfinite().all() for gradient in gradients), (kind, dtype)
            assert any(gradient.any() for gradient in gradients), (kind, dtype)
            print(kind, dtype, lengths is not None, "trains")
"""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_every_kind_trains_on_a_gpu() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", CHECK], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "lstm bfloat16 True trains" in done.stdout

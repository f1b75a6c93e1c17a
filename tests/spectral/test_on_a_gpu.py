"""On a GPU, every backend is compared with the reference on the CPU in float64."""

import os
import subprocess
import sys

import pytest
import torch

CHECK = """
import itertools
import torch
from spectral import BACKENDS, Activation, Transition, recurrence

def draw(*shape, seed):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))

def run(tensors, activation, backend):
    leaves = [t.detach().requires_grad_() for t in tensors]
    offset = leaves[5] if activation.has_offset else None
    out = recurrence(leaves[0], leaves[1], Transition(*leaves[2:5]), activation, offset=offset, backend=backend)
    weight = draw(*out.shape, seed=9).to(out)
    return [out, *torch.autograd.grad((out * weight).sum(), leaves[: 5 + activation.has_offset])]

names = [name for name in BACKENDS if name not in ("reference", "native", "native_dense")]
sizes = [(7, 2, 3, 5, 3), (100, 10, 10, 6, 33), (512, 16, 16, 4, 2), (256, 16, 16, 4, 700), (1024, 16, 16, 3, 2),
         (1024, 32, 32, 3, 2)]
options = ([(), (2,)], [torch.float64, torch.float32], ["tanh", "modrelu"])
for (n, m1, m2, steps, batch), lead, dtype, phi in itertools.product(sizes, *options):
    given = [draw(*lead, steps, batch, n, seed=1), draw(*lead, batch, n, seed=2),
             1 + 0.1 * torch.tanh(draw(*lead, n, seed=3)), draw(*lead, n, m1, seed=4), draw(*lead, n, m2, seed=5),
             0.3 * draw(*lead, n, seed=6)]
    # a float32 rounding over modrelu's jump at 0 moves a state by 2 b: float64 tells whether the kernel is right
    if phi == "modrelu" and dtype == torch.float32:
        continue
    expected = run(given, Activation(phi), "torch_loop")
    for name in [*names, "auto"]:
        if name == "cudnn" and phi == "modrelu":
            continue
        torch.backends.cudnn.allow_tf32 = False
        found = run([t.to("cuda", dtype) for t in given], Activation(phi), name)
        error = max(float((f.cpu().double() - e).abs().max() / e.abs().max()) for f, e in zip(found, expected))
        bound = 1e-12 if dtype == torch.float64 else 1e-4
        print(name, n, m1 + m2, steps, batch, lead, dtype, phi, f"{error:.1e}", "" if error <= bound else "TOO FAR")
"""

PLANS = """
import torch
from spectral import Activation, Transition, layer
from spectral.recurrence import triton
from spectral.recurrence.triton_plans import Plan, Plans, SumPlan

def draw(*shape, seed):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))

def run(tensors, backend, last_only):
    x, *leaves = [t.detach().requires_grad_(i > 0) for i, t in enumerate(tensors)]
    weight, bias, h0, *matrix = leaves
    states, last = layer(x, weight, bias, h0, Transition(*matrix), Activation("tanh"), backend=backend)
    loss = last.square().sum() + (0 if last_only else (states * weight.sum()).sum())
    return [states, last, *torch.autograd.grad(loss, leaves)]

rows = [Plan(1, 1, 32), Plan(1, 4, 32), Plan(1, 4, 8), Plan(8, 4, 32), Plan(8, 8, 32), Plan(16, 4, 32)]
sums = [SumPlan(16, 128, 4, 3), SumPlan(32, 64, 2, 3), SumPlan(16, 32, 2, 3)]
for number, plan in enumerate(rows):
    triton.plans = lambda *sizes: Plans(plan, plan, sums[number % 3])
    for lead, features, steps, last_only in [((), 1, 20, True), ((3,), 5, 7, False), ((2,), 20, 1, True)]:
        given = [draw(*lead, steps, 19, features, seed=1), draw(*lead, 100, features, seed=2), draw(*lead, 100, seed=3),
                 draw(*lead, 19, 100, seed=4), 1 + 0.1 * torch.tanh(draw(*lead, 100, seed=5)),
                 draw(*lead, 100, 10, seed=6), draw(*lead, 100, 12, seed=7)]
        expected = run(given, "torch_loop", last_only)
        found = run([t.to("cuda", torch.float32) for t in given], "triton", last_only)
        error = max(float((f.cpu().double() - e).norm() / e.norm()) for f, e in zip(found, expected))
        print(plan, lead, features, steps, last_only, f"{error:.1e}", "" if error <= 1e-5 else "TOO FAR")
"""

MEASURED = """
import os
import torch
os.environ["SPECTRAL_GPU_PLANS"] = "measure"
from spectral.recurrence.triton_calibration import plans_for
from spectral.recurrence.triton_plans import PlanShape
print(plans_for(PlanShape(64, 16, 4, 32, 32), torch.device("cuda", 0)))
"""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
@pytest.mark.timeout(600)
def test_every_plan_agrees_on_a_gpu():
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    done = subprocess.run([sys.executable, "-c", PLANS], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "TOO FAR" not in done.stdout, done.stdout


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
@pytest.mark.timeout(600)
def test_measured_plans_are_the_same_in_the_next_process(tmp_path):
    environment = {**os.environ, "TRITON_INTERPRET": "0", "SPECTRAL_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", MEASURED]
    first, second = (subprocess.run(command, capture_output=True, text=True, env=environment) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert list(tmp_path.glob("gpu-plans-*.json"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
@pytest.mark.timeout(1200)
def test_every_backend_agrees_on_a_gpu():
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "TOO FAR" not in done.stdout, done.stdout


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
@pytest.mark.timeout(900)
def test_torchs_tools_run_through_the_operators_on_a_gpu():
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.spectral.tools_on_a_gpu"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
@pytest.mark.timeout(600)
def test_the_kernels_of_the_transition_agree_on_a_gpu():
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.spectral.transition_on_a_gpu"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr

"""The rule of backend="auto", and the refusal of a backend that cannot run."""

import logging

import pytest
import torch

from spectral import Activation, recurrence
from spectral.errors import OptionError
from spectral.recurrence import native, triton
from spectral.recurrence.choice import choose, choose_dense, choose_on_gpu
from tests.spectral.agreement import inputs, transition


@pytest.mark.parametrize("native", [True, False])
def test_the_rule_on_the_cpu(native):
    factored, dense = ("native", "native_dense") if native else ("torch_loop", "dense")
    assert choose(512, 32, native=native) == factored
    assert choose(128, 128, native=native) == ("native_mixed" if native else dense)
    assert choose(32, 4, native=native) == dense


@pytest.mark.parametrize("pack", [False, True])
def test_the_rule_on_a_gpu(pack):
    assert choose_on_gpu(512, 32, "relu", can_triton=True, pack=pack) == "triton"
    assert choose_on_gpu(1024, 64, "modrelu", can_triton=True, pack=pack) == "triton"
    assert choose_on_gpu(128, 32, "tanh", can_triton=True, pack=pack) == "triton"
    assert choose_on_gpu(64, 64, "tanh", can_triton=True, pack=pack) == "triton_dense"
    assert choose_on_gpu(170, 84, "relu", can_triton=True, pack=pack) == "triton_dense"
    assert choose_on_gpu(200, 64, "relu", can_triton=True, pack=pack) == "triton"
    assert choose_on_gpu(256, 256, "modrelu", can_triton=True, pack=pack) == "triton_dense"


def test_the_rule_on_a_gpu_for_what_no_kernel_of_ours_is_fastest_at():
    assert choose_on_gpu(512, 256, "relu", can_triton=True) == "triton_dense"
    assert choose_on_gpu(512, 256, "relu", can_triton=True, pack=True) == "dense"
    assert choose_on_gpu(4096, 32, "relu", can_triton=True) == "cudnn"
    assert choose_on_gpu(4096, 32, "relu", can_triton=True, pack=True) == "dense"
    assert choose_on_gpu(4096, 32, "leaky_relu", can_triton=True) == "dense"
    assert choose_on_gpu(512, 32, "relu", can_triton=False) == "cudnn"
    assert choose_on_gpu(512, 32, "modrelu", can_triton=False) == "dense"


def test_more_reflectors_never_bring_the_factored_form_back():
    for size in (1, 33, 64, 100, 128, 170, 256, 512, 1000, 1024, 2000):
        names = [choose_on_gpu(size, rank, "relu", can_triton=True) for rank in range(2 * size)]
        assert "triton" not in names[names.count("triton") :]


@pytest.mark.parametrize("installed", [True, False])
def test_a_given_matrix_runs_in_the_dense_kernel_on_a_gpu(installed, monkeypatch):
    monkeypatch.setattr(triton, "refusal", lambda device, dtype: None if installed else "is not installed")
    kernel = "triton_dense" if installed else "dense"
    gpu = torch.device("cuda")
    assert choose_dense(170, gpu, torch.float32, pack=True) == kernel
    assert choose_dense(512, gpu, torch.float32, pack=False) == kernel
    assert choose_dense(512, gpu, torch.float32, pack=True) == "dense"
    assert choose_dense(2000, gpu, torch.float32, pack=False) == "dense"


@pytest.mark.parametrize("built", [True, False])
def test_a_given_matrix_runs_in_the_compiled_loop_on_a_cpu(built, monkeypatch):
    monkeypatch.setattr(native, "available", lambda device, dtype: built)
    name = "native_dense" if built else "dense"
    assert choose_dense(170, torch.device("cpu"), torch.float32, pack=False) == name


@pytest.mark.parametrize("built", [True, False])
def test_the_choice_is_logged_and_falls_back_where_nothing_is_built(caplog, monkeypatch, built):
    monkeypatch.setattr(native, "available", lambda device, dtype: built)
    z, h0 = inputs((), 2, 1, 4)
    with caplog.at_level(logging.DEBUG, logger="spectral.recurrence.choice"):
        recurrence(z, h0, transition(4, 1, 1), Activation("tanh"))
    assert f"backend {'native_dense' if built else 'dense'}" in caplog.text
    if not built:
        with pytest.raises(OptionError, match="C\\+\\+ compiler"):
            recurrence(z, h0, transition(4, 1, 1), Activation("tanh"), backend="native")

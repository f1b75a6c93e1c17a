"""The compiled loop is built for the instruction set that is asked for, and absent without a compiler."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spectral.cpu import library as native_library
from spectral.errors import OptionError
from spectral.recurrence import native


def test_without_a_compiler_the_library_is_absent_and_says_so_once(caplog, monkeypatch):
    monkeypatch.setattr(native_library.shutil, "which", lambda name: None)
    with caplog.at_level(logging.WARNING, logger=native_library.log.name):
        assert native_library.library.__wrapped__(torch.float32) is None
    assert caplog.text.count("no C++ compiler found") == 1


@pytest.mark.skipif(not native.available(torch.device("cpu"), torch.float32), reason="needs a C++ compiler")
def test_a_library_whose_file_is_damaged_is_built_again(monkeypatch, tmp_path):
    good = Path(native_library.required(torch.float32)._name).read_bytes()
    built = []

    def build(compiler, scalar, instruction_set, path):
        built.append(path)
        path.write_bytes(b"" if len(built) == 1 else good)

    monkeypatch.setenv("SPECTRAL_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(native_library, "_build", build)
    assert native_library.library.__wrapped__(torch.float32) is not None
    assert len(built) == 2
    assert built[0].read_bytes() == good


@pytest.mark.parametrize(("value", "expected"), [(None, "native"), ("", "native"), ("avx2", "avx2")])
def test_the_environment_chooses_the_instruction_set(monkeypatch, value, expected):
    monkeypatch.delenv("SPECTRAL_NATIVE_ISA", raising=False)
    if value is not None:
        monkeypatch.setenv("SPECTRAL_NATIVE_ISA", value)
    assert native_library.chosen_instruction_set() == expected


def test_an_unknown_instruction_set_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("SPECTRAL_NATIVE_ISA", "avx9")
    with pytest.raises(OptionError, match="native, avx2, baseline; found 'avx9'"):
        native_library.library.__wrapped__(torch.float32)


BASELINE = """
import torch
from spectral import Activation, Transition, recurrence
torch.manual_seed(0)
z, h0 = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((9, 13, 21), (13, 21)))
u, v = (torch.randn(21, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
transition = Transition(torch.full((21,), 0.9, dtype=torch.float64), u, v)
found = []
for backend in ("native", "native_dense", "reference"):
    states = recurrence(z, h0, transition, Activation("tanh"), backend=backend)
    found.append((states, *torch.autograd.grad(states.square().sum(), [z, h0, u, v])))
for own in found[:-1]:
    for one, expected in zip(own, found[-1], strict=True):
        torch.testing.assert_close(one, expected, rtol=1e-10, atol=1e-10)
"""


@pytest.mark.skipif(not native.available(torch.device("cpu"), torch.float64), reason="needs a C++ compiler")
def test_the_loop_agrees_without_any_vector_extension():
    environment = {**os.environ, "SPECTRAL_NATIVE_ISA": "baseline", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", BASELINE], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr

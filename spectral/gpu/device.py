"""Where the Triton kernels of this folder run, and how they start. The package triton is imported on first use."""

import contextlib
import functools
import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float64)
"""The dtypes in which the kernels compute."""


@functools.cache
def installed() -> bool:
    """Return whether the package triton is installed."""
    return importlib.util.find_spec("triton") is not None


def runs(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether the kernels are used: on a CUDA device with triton installed, in float32 and float64.

    Triton's interpreter runs them on a CPU too, if a test calls an operator by name.
    """
    return device.type == "cuda" and dtype in DTYPES and installed()


runs._dynamo_marked_constant = True  # type: ignore[attr-defined]  # see native.available


def power_of_two(size: int) -> int:
    """Return the smallest power of two that is at least ``size``."""
    return 1 << max(size - 1, 0).bit_length()


@functools.cache
def processors(device: torch.device) -> int:
    """Return the number of multiprocessors; 2 where the interpreter runs, so that small problems are divided too."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2


def device_of(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which kernels start on the device of the tensor."""
    return torch.cuda.device(tensor.device) if tensor.device.type == "cuda" else contextlib.nullcontext()


def launch(name: str, grid: tuple[int, ...], like: Tensor, arguments: Sequence[Any], **options: Any) -> None:
    """Start a kernel on the device of a tensor.

    Args:
        name: The module in this folder and the kernel in it.
        grid: The numbers of programs.
        like: A tensor on the device.
        arguments: The kernel's positional arguments.
        options: Its compile-time constants and the number of warps.
    """
    kernel = _kernel(name)
    with device_of(like):
        kernel[grid](*arguments, **options)


@functools.cache
def _kernel(name: str) -> Any:
    module, _, kernel = name.partition(".")
    return getattr(importlib.import_module(f"{__package__}.{module}"), kernel)


def number(dtype: torch.dtype) -> Any:
    """Return Triton's name of float32 or float64."""
    language = importlib.import_module("triton.language")
    return language.float64 if dtype == torch.float64 else language.float32

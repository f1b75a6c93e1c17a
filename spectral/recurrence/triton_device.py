"""What Triton runs on, and how it multiplies. The package triton is imported on first use."""

import functools
import importlib
import os
from typing import Any, NamedTuple

import torch

PRECISIONS = {"highest": "tf32x3", "high": "tf32x3", "medium": "tf32"}
"""Triton's name for what ``torch.get_float32_matmul_precision()`` asks for; see ``Products``."""


def interpreted() -> bool:
    """Return whether Triton's interpreter runs the kernels, on any device."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


@functools.cache
def processors_of(device: torch.device) -> int:
    """Return the number of multiprocessors; 1 under the interpreter, so that small problems take every path."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


class Products(NamedTuple):
    """How matrix products are formed."""

    number: torch.dtype
    """float32 or float64, the dtype of parameters and sums."""
    precision: str
    """ieee, tf32x3 or tf32: plain products, three TF32 products in place of one, or one TF32 product."""

    def options(self, stored: torch.dtype) -> dict[str, Any]:
        """Return what a kernel is told.

        Args:
            stored: The dtype of the states; products are of bfloat16 numbers if it is bfloat16.
        """
        language = importlib.import_module("triton.language")
        number = language.float64 if self.number == torch.float64 else language.float32
        # Triton's interpreter multiplies the bits of bfloat16 as if they were integers, so products stay in float32.
        half = stored == torch.bfloat16 and not interpreted()
        return {"NUMBER": number, "PRECISION": self.precision, "DOT": language.bfloat16 if half else number}


def products(number: torch.dtype) -> Products:
    """Return how products are formed for parameters of this dtype under the present settings of torch."""
    precision = PRECISIONS[torch.get_float32_matmul_precision()]
    return Products(number, "ieee" if number == torch.float64 else precision)

"""Images read as sequences of pixels: by pixels, chunks or rows, in order or permuted."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

PixelOrder = Literal["rows", "columns", "permuted"]
PERMUTATION = 92916
"""Seed of the permutation of the pixels that published results on permuted MNIST use."""


def permutation(pixels: int = 784) -> npt.NDArray[np.int64]:
    """Return the fixed permutation (pixels,): entry i is the pixel of the image that is read as pixel i."""
    return np.random.RandomState(PERMUTATION).permutation(pixels).astype(np.int64)


def divisors(pixels: int) -> list[int]:
    """Return the numbers of equal steps into which an image of so many pixels can be cut, ascending."""
    return [steps for steps in range(1, pixels + 1) if pixels % steps == 0]


def to_steps(images: npt.NDArray[np.uint8], steps: int, order: PixelOrder) -> npt.NDArray[np.float32]:
    """Return images (N, height, width) as sequences (N, steps, pixels per step), scaled to [0, 1]."""
    count, pixels = len(images), images.shape[1] * images.shape[2]
    if order == "columns":
        images = images.transpose(0, 2, 1)
    flat = images.reshape(count, pixels)
    if order == "permuted":
        flat = flat[:, permutation(pixels)]
    return (flat / np.float32(255)).astype(np.float32).reshape(count, steps, pixels // steps)


def to_image(sequence: npt.NDArray[Any], height: int, width: int, order: PixelOrder) -> npt.NDArray[Any]:
    """Return the image (height, width) that ``to_steps`` made a sequence (steps, pixels per step) of."""
    flat = sequence.ravel()
    if order == "permuted":
        flat = flat[np.argsort(permutation(height * width))]
    return flat.reshape(width, height).T if order == "columns" else flat.reshape(height, width)

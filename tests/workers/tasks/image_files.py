"""Sets of images in IDX files, which a test writes."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np

from workers.tasks.idx_files import TYPES
from workers.tasks.images import Images

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CODES = {np.dtype(name): code for code, name in TYPES.items()}


def idx(array: np.ndarray, shape: tuple[int, ...] | None = None) -> bytes:
    """The content of an IDX file, as its description says; with another shape in its header if one is given."""
    sizes = array.shape if shape is None else shape
    kind = CODES[array.dtype.newbyteorder(">") if array.dtype.itemsize > 1 else array.dtype]
    header = struct.pack(f">HBB{len(sizes)}I", 0, kind, len(sizes), *sizes)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def packed_idx(*content: Any) -> bytes:
    """The same in a gzip archive, whose bytes do not depend on the time."""
    return gzip.compress(idx(*content), mtime=0)


def pictures(count: int, height: int, width: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, height, width)).astype(np.uint8)
    return images, np.arange(count).astype(np.uint8) % classes


def put(
    folder: Path, *, height: int = 5, width: int = 4, classes: int = 3, names: Any = NAMES, packed: bool = False
) -> Any:
    """Write a set of 40 training and 12 test images, and return their arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    found = (*pictures(40, height, width, classes, 0), *pictures(12, height, width, classes, 1))
    for name, array in zip(names, found, strict=True):
        content = idx(array)
        (folder / f"{name}{'.gz' if packed else ''}").write_bytes(
            gzip.compress(content, mtime=0) if packed else content
        )
    return found


def images_of(folder: Path, **fields: Any) -> Images:
    return Images.model_validate({"dataset": "mine"} | fields).with_info(folder)


SQUARES = np.zeros((40, 5, 4), np.uint8)

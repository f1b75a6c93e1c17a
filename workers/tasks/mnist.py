"""MNIST read as a sequence: pixel by pixel (784 steps), or rows and patches by ``steps``; in order or permuted."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from workers.errors import DataMissing
from workers.tasks.data_folder import folder_of
from workers.tasks.task import Loss, MetricDirections, Sequences, Split, Task, scored

PIXELS = 784
VALIDATION = 5_000
PERMUTATION = 92916
"""Seed of the order of pixels that published figures on permuted MNIST share."""

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
# name: sha256 of the published archive, sha256 of its content
FILES = {
    "train-images-idx3-ubyte.gz": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte.gz": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte.gz": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}


def _content(name: str, data_dir: Path | None) -> bytes:
    """The decompressed IDX file ``data_dir/mnist/name``, checksum verified; fetched there where it is missing.

    The content's checksum counts, not the archive's: the same images recompressed are the same images.
    """
    import pooch

    archive, content = FILES[name]
    folder = folder_of(data_dir) / "mnist"
    path = folder / name
    if not path.exists():
        try:
            pooch.retrieve(MIRROR + name, f"sha256:{archive}", fname=name, path=folder)
        except Exception as error:
            raise DataMissing(
                f"MNIST file {name} is not in {folder} and could not be fetched ({error}). Put the four files "
                f"{', '.join(FILES)} there, or set SPECTRAL_DATA_DIR to the folder that holds mnist/."
            ) from error
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataMissing(f"{path} is damaged ({error}). Delete it, or replace it.") from error
    if hashlib.sha256(data).hexdigest() != content:
        raise DataMissing(f"{path} is not the published MNIST file (checksum differs). Delete it, or replace it.")
    return data


@lru_cache(maxsize=2)
def _images(
    part: Literal["train", "t10k"], data_dir: Path | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    pixels = np.frombuffer(_content(f"{part}-images-idx3-ubyte.gz", data_dir), np.uint8, offset=16).reshape(-1, PIXELS)
    labels = np.frombuffer(_content(f"{part}-labels-idx1-ubyte.gz", data_dir), np.uint8, offset=8)
    return (pixels / np.float32(255)).astype(np.float32), labels.astype(np.int64)


class Mnist(Task):
    """Official split, 5,000 training images held out to validate; pixels / 255; ``steps`` chunks of 784 / steps.

    Ten classes, cross-entropy after the last step; metrics loss and accuracy; baseline ln 10, a uniform guess.
    """

    loss: ClassVar[Loss] = "cross_entropy"
    metrics: ClassVar[MetricDirections] = scored("loss", "accuracy")
    summary: ClassVar[str] = (
        "MNIST as a sequence of pixels, patches or rows; fetched once or read from the data directory."
    )

    name: Literal["mnist"] = "mnist"
    steps: int = Field(default=PIXELS, ge=1, le=PIXELS, description="time steps; each reads 784 / steps pixels")

    order: Literal["rows", "permuted"] = Field(
        default="rows", description="of the pixels; permuted: one fixed random order, the same for every image"
    )

    @field_validator("steps")
    @classmethod
    def _divides(cls, steps: int) -> int:
        if PIXELS % steps:
            divisors = [d for d in range(1, PIXELS + 1) if PIXELS % d == 0]
            raise PydanticCustomError(
                "steps_divide",
                "784 pixels do not divide into {steps} steps",
                {"steps": steps, "expected": f"one of {', '.join(map(str, divisors))}"},
            )
        return steps

    @property
    def sequence_length(self) -> int:
        return self.steps

    @property
    def input_size(self) -> int:
        return PIXELS // self.steps

    @property
    def output_size(self) -> int:
        return 10

    @property
    def baseline(self) -> float:
        return float(np.log(10))

    def image(self, inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        pixels = inputs.ravel()
        if self.order == "permuted":
            pixels = pixels[np.argsort(permutation())]
        return pixels.reshape(28, 28)

    def training_data(self, data_dir: Path | None) -> Sequences | None:
        pixels, labels = _images("train", data_dir)
        return self._sequences(pixels[:-VALIDATION], labels[:-VALIDATION])

    def held_out(self, split: Split, data_dir: Path | None) -> Sequences:
        if split == "test":
            return self._sequences(*_images("t10k", data_dir))
        pixels, labels = _images("train", data_dir)
        return self._sequences(pixels[-VALIDATION:], labels[-VALIDATION:])

    def _sequences(self, pixels: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> Sequences:
        if self.order == "permuted":
            pixels = pixels[:, permutation()]
        return Sequences(pixels.reshape(-1, self.steps, PIXELS // self.steps), labels)


def permutation() -> npt.NDArray[np.int64]:
    """Which pixel of the image each pixel of a permuted sequence is, (784,)."""
    return np.random.RandomState(PERMUTATION).permutation(PIXELS).astype(np.int64)

"""MNIST (LeCun et al. 1998) read as a sequence of pixels, patches or rows, in order or permuted."""

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
from workers.tasks.image_sequences import divisors, to_image, to_steps
from workers.tasks.task import Loss, MetricDirections, SampleView, Sequences, Split, Task, scored

SIDE = 28
PIXELS = SIDE * SIDE
VALIDATION = 5_000

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
# name of the file: SHA-256 of the published archive, SHA-256 of its content
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


def is_here(data_dir: Path | None) -> bool:
    """Return whether the four files are in the data directory, so that none has to be fetched."""
    return all((folder_of(data_dir) / "mnist" / name).is_file() for name in FILES)


def _content(name: str, data_dir: Path | None) -> bytes:
    """Return the decompressed IDX file ``data_dir/mnist/name`` after a check of its checksum; fetch it if missing.

    The checksum of the content is compared, not that of the archive, so that a recompressed file is accepted.
    """
    archive, content = FILES[name]
    folder = folder_of(data_dir) / "mnist"
    path = folder / name
    if not path.exists():
        try:
            import pooch

            pooch.retrieve(MIRROR + name, f"sha256:{archive}", fname=name, path=folder)
        except Exception as error:
            # the libraries' own words are left out: they speak of their retries and packages
            raise DataMissing(
                f"MNIST file {name} is not in {folder} and could not be fetched from {MIRROR}: {_reason(error)}. Put "
                f"the four files {', '.join(FILES)} there, or set SPECTRAL_DATA_DIR to the folder that contains mnist/."
            ) from None
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataMissing(f"{path} is damaged: it is no whole gzip archive. Delete it, or replace it.") from error
    if hashlib.sha256(data).hexdigest() != content:
        raise DataMissing(f"{path} is not the published MNIST file (checksum differs). Delete it, or replace it.")
    return data


def _reason(error: Exception) -> str:
    """Return why a file could not be fetched, in words for the user."""
    from requests import exceptions

    if isinstance(error, exceptions.InvalidSchema | exceptions.InvalidURL | exceptions.ProxyError):
        return (
            "the proxy that HTTPS_PROXY or ALL_PROXY names cannot be used; correct it, or unset it. A SOCKS proxy "
            "needs the package PySocks: pip install pysocks"
        )
    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"the server answered with status {error.response.status_code}"
    if isinstance(error, exceptions.SSLError):
        return "the certificate of the server could not be verified"
    if isinstance(error, exceptions.RequestException):
        return "the server could not be reached, or the transfer broke off"
    if isinstance(error, ImportError):
        return "a package that fetches it is missing; run: pip install pooch"
    if isinstance(error, OSError):
        return "the folder cannot be written"
    return "what came is not the published file"


@lru_cache(maxsize=2)
def _images(
    part: Literal["train", "t10k"], data_dir: Path | None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return the images (N, 28, 28) and the labels (N,) of one part."""
    pixels = np.frombuffer(_content(f"{part}-images-idx3-ubyte.gz", data_dir), np.uint8, offset=16)
    labels = np.frombuffer(_content(f"{part}-labels-idx1-ubyte.gz", data_dir), np.uint8, offset=8)
    return pixels.reshape(-1, SIDE, SIDE), labels.astype(np.int64)


class Mnist(Task):
    """MNIST as a sequence: say which of ten digits an image of 28 x 28 pixels shows.

    Inputs (steps, 784 / steps) are the pixels, row by row, scaled to [0, 1]: one pixel per step by default, a row with
    28 steps. With ``order`` permuted, one fixed permutation is applied to the pixels of all images. The target is one
    class of ten. The loss is the cross-entropy in nats after the last step; metrics are loss and accuracy. The split is
    the official one; the last 5,000 training images validate. The baseline is ln 10, a uniform guess. As a test of
    recurrent nets: Le, Jaitly and Hinton 2015.
    """

    loss: ClassVar[Loss] = "cross_entropy"
    metrics: ClassVar[MetricDirections] = scored("loss", "accuracy")
    summary: ClassVar[str] = (
        "MNIST as a sequence of pixels, patches or rows; fetched once or read from the data directory."
    )

    reads_files: ClassVar[bool] = True

    name: Literal["mnist"] = Field(default="mnist", description="name of the task")
    steps: int = Field(
        default=PIXELS, ge=1, le=PIXELS, description="steps T of a sequence, a divisor of 784; each has 784 / T pixels"
    )
    order: Literal["rows", "permuted"] = Field(
        default="rows",
        description="order of the pixels: row by row, or permuted by one fixed random order for every image",
    )

    @field_validator("steps")
    @classmethod
    def _divides(cls, steps: int) -> int:
        if PIXELS % steps:
            raise PydanticCustomError(
                "steps_divide",
                "784 pixels do not divide into {steps} steps",
                {"steps": steps, "expected": f"one of {', '.join(map(str, divisors(PIXELS)))}"},
            )
        return steps

    @property
    def sequence_length(self) -> int:
        """The field ``steps``."""
        return self.steps

    @property
    def input_size(self) -> int:
        """Pixels per step, 784 / ``steps``."""
        return PIXELS // self.steps

    @property
    def output_size(self) -> int:
        """10 classes."""
        return 10

    @property
    def baseline(self) -> float:
        """Loss of a uniform guess, ln 10."""
        return float(np.log(10))

    def sample_view(self, inputs: npt.NDArray[Any], data_dir: Path | None) -> SampleView:
        """Return the steps over time and the image, its pixels in their original order."""
        return SampleView(inputs, image=to_image(inputs, SIDE, SIDE, self.order))

    def training_data(self, data_dir: Path | None) -> Sequences | None:
        """Return the first 55,000 training images."""
        images, labels = _images("train", data_dir)
        return self._sequences(images[:-VALIDATION], labels[:-VALIDATION])

    def held_out(self, split: Split, data_dir: Path | None) -> Sequences:
        """Return the last 5,000 training images, or the 10,000 test images."""
        if split == "test":
            return self._sequences(*_images("t10k", data_dir))
        images, labels = _images("train", data_dir)
        return self._sequences(images[-VALIDATION:], labels[-VALIDATION:])

    def _sequences(self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> Sequences:
        return Sequences(to_steps(images, self.steps, self.order), labels)

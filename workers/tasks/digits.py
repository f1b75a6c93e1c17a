"""Handwritten digits that come with scikit-learn (UCI optdigits test set): 1,797 images of 8 x 8, read by pixel."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from workers.tasks.task import Loss, MetricDirections, SampleView, Sequences, Split, Task, scored

TRAIN, VALIDATION = 1_197, 300


@lru_cache(maxsize=1)
def _images() -> Sequences:
    """Return all images and their classes, in the order in which they are divided into sets.

    The file is read without importing scikit-learn, which takes two seconds of every worker's start.

    Raises:
        ModuleNotFoundError: If scikit-learn is not installed.
        FileNotFoundError: If the installed version has no such file.
    """
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the task digits needs the package scikit-learn, which contains its images")
    table = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    table = table[np.random.RandomState(0).permutation(len(table))]
    return Sequences((table[:, :-1, None] / 16).astype(np.float32), table[:, -1].astype(np.int64))


class Digits(Task):
    """Scanned digits as sequences of pixels: say which of ten digits an image shows.

    Inputs (64, 1) are the pixels of an 8 x 8 image, row by row, scaled to [0, 1]. The target is one class of ten. The
    loss is the cross-entropy in nats after the last step; metrics are loss and accuracy. 1,197 images train, 300
    validate and 300 test. The baseline is ln 10, a uniform guess. The images are the test set of UCI optdigits
    (Alpaydin and Kaynak 1998), which scikit-learn contains.
    """

    loss: ClassVar[Loss] = "cross_entropy"
    metrics: ClassVar[MetricDirections] = scored("loss", "accuracy")
    summary: ClassVar[str] = "Scanned digits of 8 x 8 pixels as sequences of 64 steps; needs no download."

    name: Literal["digits"] = Field(default="digits", description="name of the task")

    @property
    def sequence_length(self) -> int:
        """64 steps, one for each pixel."""
        return 64

    @property
    def input_size(self) -> int:
        """1: the pixel."""
        return 1

    @property
    def output_size(self) -> int:
        """10 classes."""
        return 10

    @property
    def baseline(self) -> float:
        """Loss of a uniform guess, ln 10."""
        return float(np.log(10))

    def sample_view(self, inputs: npt.NDArray[Any], data_dir: Path | None) -> SampleView:
        """Return the pixels over time and the image."""
        return SampleView(inputs, image=inputs.reshape(8, 8))

    def training_data(self, data_dir: Path | None) -> Sequences | None:
        """Return 1,197 images."""
        images = _images()
        return Sequences(images.inputs[:TRAIN], images.targets[:TRAIN])

    def held_out(self, split: Split, data_dir: Path | None) -> Sequences:
        """Return 300 images."""
        images = _images()
        start, stop = (TRAIN, TRAIN + VALIDATION) if split == "validation" else (TRAIN + VALIDATION, len(images))
        return Sequences(images.inputs[start:stop], images.targets[start:stop])

"""Handwritten digits that ship with scikit-learn (UCI optdigits test set): 1,797 images of 8 x 8, by pixel."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from workers.tasks.task import Loss, MetricDirections, Sequences, Split, Task, scored

TRAIN, VALIDATION = 1_197, 300


@lru_cache(maxsize=1)
def _images() -> Sequences:
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.RandomState(0).permutation(len(digits.target))
    pixels = (digits.data[order] / 16).astype(np.float32)
    return Sequences(pixels[:, :, None], digits.target[order].astype(np.int64))


class Digits(Task):
    """64 steps of one pixel, row by row; ten classes; 1,197 images to train, 300 to validate, 300 to test.

    Cross-entropy after the last step; metrics loss and accuracy; baseline ln 10, a uniform guess.
    """

    loss: ClassVar[Loss] = "cross_entropy"
    metrics: ClassVar[MetricDirections] = scored("loss", "accuracy")
    summary: ClassVar[str] = "Scanned digits of 8 x 8 pixels as sequences of 64 steps; needs no download."

    name: Literal["digits"] = "digits"

    @property
    def sequence_length(self) -> int:
        return 64

    @property
    def input_size(self) -> int:
        return 1

    @property
    def output_size(self) -> int:
        return 10

    @property
    def baseline(self) -> float:
        return float(np.log(10))

    def image(self, inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return inputs.reshape(8, 8)

    def training_data(self, data_dir: Path | None) -> Sequences | None:
        images = _images()
        return Sequences(images.inputs[:TRAIN], images.targets[:TRAIN])

    def held_out(self, split: Split, data_dir: Path | None) -> Sequences:
        images = _images()
        start, stop = (TRAIN, TRAIN + VALIDATION) if split == "validation" else (TRAIN + VALIDATION, len(images))
        return Sequences(images.inputs[start:stop], images.targets[start:stop])

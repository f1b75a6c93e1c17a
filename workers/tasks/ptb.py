"""Penn Treebank (Marcus et al. 1993) as Mikolov et al. (2010) prepared it, by character and by word.

The task reads the six files in common use: ``ptb.train.txt``, ``ptb.valid.txt``, ``ptb.test.txt``, and the same by
character as ``ptb.char.train.txt`` and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from workers.decoding import lines_of
from workers.errors import DataMissing
from workers.tasks.data_folder import folder_of
from workers.tasks.language import LanguageTask, Streams
from workers.tasks.readers.text import text_of
from workers.tasks.task import MetricDirections, scored
from workers.tasks.vocabulary import LINE_END, Level, Vocabulary

TrainOn = Literal["train", "valid"]

CHARACTERS = Vocabulary((LINE_END, *"#$&'*-./0123456789<>N\\_abcdefghijklmnopqrstuvwxyz"))
"""All symbols of the character files: 49 characters and the end of a line. ``_`` is a space, ``<unk>`` is spelled."""

WORDS: dict[TrainOn, int] = {"train": 10_000, "valid": 5_792}
"""Number of different words in the text trained on, including ``<unk>`` and the end of a line."""

SIZES: dict[Level, dict[TrainOn, int]] = {
    "char": {"train": len(CHARACTERS.symbols), "valid": len(CHARACTERS.symbols)},
    "word": WORDS,
}
BASELINES: dict[Level, dict[TrainOn, float]] = {
    "char": {"train": 3.0115, "valid": 3.0115},
    "word": {"train": 6.3303, "valid": 5.9424},
}
"""Entropy in nats of the single tokens of the test file, with the vocabulary of the text trained on."""


class PennTreebank(LanguageTask):
    """Penn Treebank with the official split; ``level`` says whether a token is a character or a word."""

    level: ClassVar[Level]

    name: str
    length: int = Field(default=150, ge=1, le=100_000, description="steps between two updates; the state is carried")
    train_on: TrainOn = Field(
        default="train",
        description="valid: train on the valid file and validate on its last tenth, so that no train file is needed",
    )

    @property
    def sequence_length(self) -> int:
        """The field ``length``."""
        return self.length

    @property
    def vocabulary_size(self) -> int:
        """Number of symbols: 50 by character; by word 10,000 or, with ``train_on`` valid, 5,792."""
        return SIZES[self.level][self.train_on]

    @property
    def baseline(self) -> float:
        """Entropy in nats of the single tokens of the test file: the loss of the best constant answer."""
        return BASELINES[self.level][self.train_on]

    def streams(self, data_dir: Path | None) -> Streams:
        """Read the training, validation and test text."""
        return _streams(self.level, self.train_on, data_dir)


class PtbChar(PennTreebank):
    """Penn Treebank by character: predict the next of 50 symbols, one of which is the end of a line.

    Inputs (T,) are character ids and the target at every step is the next character. Metrics are the loss, a
    cross-entropy in nats, and ``bpc``, bits per character. The baseline, 3.01 nats or 4.34 bits, is the entropy of the
    test file's single characters, which the best constant answer reaches. Data: Mikolov et al. 2010.
    """

    level: ClassVar[Level] = "char"
    metrics: ClassVar[MetricDirections] = scored("loss", "bpc")
    summary: ClassVar[str] = "Penn Treebank by character: predict the next of 50; bits per character."

    name: Literal["ptb_char"] = Field(default="ptb_char", description="name of the task")


class PtbWord(PennTreebank):
    """Penn Treebank by word: predict the next of 10,000 words, or of 5,792 when trained on the valid file.

    Inputs (T,) are word ids and the target at every step is the next word. The vocabulary is that of the text trained
    on, and all other words are ``<unk>``; with ``train_on`` valid that is the file without its last tenth, which
    validates. Metrics are the loss, a cross-entropy in nats, and ``perplexity``. The baseline is the entropy of the
    test file's single words, which the best constant answer reaches: perplexity 561, or 381 with the smaller
    vocabulary, whose perplexities cannot be compared with published ones. Data: Mikolov et al. 2010.
    """

    level: ClassVar[Level] = "word"
    metrics: ClassVar[MetricDirections] = scored("loss", "perplexity")
    summary: ClassVar[str] = "Penn Treebank by word: predict the next of 10,000; perplexity."

    name: Literal["ptb_word"] = Field(default="ptb_word", description="name of the task")
    length: int = Field(default=300, ge=1, le=100_000, description="steps between two updates; the state is carried")


@lru_cache(maxsize=2)
def _streams(level: Level, train_on: TrainOn, data_dir: Path | None) -> Streams:
    trained, test = _text(level, train_on, data_dir), _text(level, "test", data_dir)
    if train_on == "train":
        held_out = _text(level, "valid", data_dir)
    else:
        cut = len(trained) - len(trained) // 10
        trained, held_out = trained[:cut], trained[cut:]
    known = CHARACTERS if level == "char" else Vocabulary.most_frequent(trained, WORDS[train_on])
    try:
        return Streams(known, known.ids(trained), known.ids(held_out), known.ids(test))
    except ValueError as error:
        raise DataMissing(
            f"a file {_name(level, '*')} is not the one in common use: {error}. "
            "Replace it by the file in Mikolov's simple-examples.tgz."
        ) from error


def _name(level: Level, part: str) -> str:
    return f"ptb.char.{part}.txt" if level == "char" else f"ptb.{part}.txt"


def _text(level: Level, part: Literal["train", "valid", "test"], data_dir: Path | None) -> Sequence[str]:
    """Return the tokens of a file, which are separated by spaces; the end of a line is a token too."""
    folder = folder_of(data_dir) / "ptb"
    path = folder / _name(level, part)
    try:
        data = path.read_bytes()
    except OSError as error:
        why = error.strerror or type(error).__name__
        instead = " Or set task.train_on to valid, which needs no train file." if part == "train" else ""
        raise DataMissing(
            f"Penn Treebank file {path.name} cannot be read from {folder} ({why}). Put it there (Mikolov's "
            f"simple-examples.tgz has it in its folder data), or set SPECTRAL_DATA_DIR to the folder that contains "
            f"ptb/.{instead}"
        ) from error
    return [token for line in lines_of(text_of(data, path.name)) for token in (*line.split(), LINE_END)]

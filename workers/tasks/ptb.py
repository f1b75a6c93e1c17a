"""Penn Treebank as prepared by Mikolov et al. (2010), by character and by word, from the six files in common use."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from workers.errors import DataMissing
from workers.tasks.data_folder import folder_of
from workers.tasks.language import LanguageTask, Streams
from workers.tasks.task import MetricDirections, scored
from workers.tasks.vocabulary import LINE_END, Level, Vocabulary

TrainOn = Literal["train", "valid"]
WHERE = "valid: train on the valid file, its last tenth held out; needs no train file"

CHARACTERS = Vocabulary((LINE_END, *"#$&'*-./0123456789<>N\\_abcdefghijklmnopqrstuvwxyz"))
"""All that the character files hold: 49 and the end of a line. ``_`` is a space, ``<unk>`` is spelled out."""

WORDS: dict[TrainOn, int] = {"train": 10_000, "valid": 6_022}
"""Different words of the file trained on, ``<unk>`` and the end of a line among them."""

CHAR_BASELINE = 3.0115
WORD_BASELINES: dict[TrainOn, float] = {"train": 6.3303, "valid": 5.9750}
"""Entropy of the test file's single tokens in nats, as seen through the vocabulary of the file trained on."""


class PtbChar(LanguageTask):
    """50 characters, the end of a line among them. Metrics: loss in nats, ``bpc`` in bits per character.

    Baseline: the entropy of the test file's single characters, what the best constant answer reaches; 4.34 bits.
    """

    metrics: ClassVar[MetricDirections] = scored("loss", "bpc")
    summary: ClassVar[str] = "Penn Treebank by character: predict the next of 50; bits per character."

    name: Literal["ptb_char"] = "ptb_char"
    length: int = Field(default=150, ge=1, le=100_000, description="steps between two updates; the state is carried")
    train_on: TrainOn = Field(default="train", description=WHERE)

    @property
    def sequence_length(self) -> int:
        return self.length

    @property
    def vocabulary_size(self) -> int:
        return len(CHARACTERS.symbols)

    @property
    def baseline(self) -> float:
        return CHAR_BASELINE

    def streams(self, data_dir: Path | None) -> Streams:
        return _streams("char", self.train_on, data_dir)


class PtbWord(LanguageTask):
    """10,000 words, 6,022 where trained on the valid file; others are ``<unk>``. Metrics: loss in nats, ``perplexity``.

    Baseline: the entropy of the test file's single words, what the best constant answer reaches: perplexity 561, or 393
    through the smaller vocabulary, whose perplexities cannot be set beside published ones.
    """

    metrics: ClassVar[MetricDirections] = scored("loss", "perplexity")
    summary: ClassVar[str] = "Penn Treebank by word: predict the next of 10,000; perplexity."

    name: Literal["ptb_word"] = "ptb_word"
    length: int = Field(default=300, ge=1, le=100_000, description="steps between two updates; the state is carried")
    train_on: TrainOn = Field(default="train", description=WHERE)

    @property
    def sequence_length(self) -> int:
        return self.length

    @property
    def vocabulary_size(self) -> int:
        return WORDS[self.train_on]

    @property
    def baseline(self) -> float:
        return WORD_BASELINES[self.train_on]

    def streams(self, data_dir: Path | None) -> Streams:
        return _streams("word", self.train_on, data_dir)


@lru_cache(maxsize=2)
def _streams(level: Level, train_on: TrainOn, data_dir: Path | None) -> Streams:
    trained, test = _text(level, train_on, data_dir), _text(level, "test", data_dir)
    known = CHARACTERS if level == "char" else Vocabulary.most_frequent(trained, WORDS[train_on])
    try:
        if train_on == "train":
            valid = _text(level, "valid", data_dir)
            return Streams(known, known.ids(trained), known.ids(valid), known.ids(test))
        ids, cut = known.ids(trained), len(trained) - len(trained) // 10
        return Streams(known, ids[:cut], ids[cut:], known.ids(test))
    except ValueError as error:
        raise DataMissing(f"a file {_name(level, '*')} is not the one in common use: {error}") from error


def _name(level: Level, part: str) -> str:
    return f"ptb.char.{part}.txt" if level == "char" else f"ptb.{part}.txt"


def _text(level: Level, part: Literal["train", "valid", "test"], data_dir: Path | None) -> Sequence[str]:
    """Tokens of a file, which has a space between any two and a line's end for a token of its own."""
    folder = folder_of(data_dir) / "ptb"
    path = folder / _name(level, part)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        instead = " Or set task.train_on to valid, which needs no train file." if part == "train" else ""
        raise DataMissing(
            f"Penn Treebank file {path.name} cannot be read from {folder} ({why}). Put it there (Mikolov's "
            f"simple-examples.tgz holds it in its folder data), or set SPECTRAL_DATA_DIR to the folder that holds "
            f"ptb/.{instead}"
        ) from error
    return [token for line in text.splitlines() for token in (*line.split(), LINE_END)]

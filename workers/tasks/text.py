"""A plain text of the user's own for language modelling, by character or by word."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, FiniteFloat

from workers.decoding import lines_of, with_line_feeds
from workers.errors import DataMissing
from workers.tasks.data_folder import file_in, inside, version_of
from workers.tasks.language import LanguageTask, Streams
from workers.tasks.readers.text import read_text
from workers.tasks.task import MetricDirections, decided_by, scored
from workers.tasks.vocabulary import LINE_END, Level, Vocabulary

SIZES: dict[Level, int] = {"char": 256, "word": 10_000}


class Text(LanguageTask):
    """A plain text file of the user's own: predict the next character or word.

    The file is UTF-8, or UTF-16 with a byte-order mark. Inputs (T,) are token ids and the target at every step is the
    next token. Words are separated by white space, and the end of a line is a token too. The last tokens of the text
    test, those before them validate, and the rest trains. The vocabulary is the most frequent tokens of the training
    part; all others are ``<unk>``. Metrics are the loss, a cross-entropy in nats, and ``bpc`` by character or
    ``perplexity`` by word. The baseline is a uniform guess, ln of the vocabulary's size, since a server may accept a
    sweep without having the file.
    """

    metrics: ClassVar[MetricDirections] = decided_by(
        lambda task: scored("loss", "bpc" if task.level == "char" else "perplexity"),
        listed=scored("loss", "bpc", "perplexity"),
    )
    summary: ClassVar[str] = "A plain text file of your own: predict the next character or word."

    name: Literal["text"] = Field(default="text", description="name of the task")
    file: Annotated[str, AfterValidator(inside)] = Field(
        min_length=1, max_length=1_000, description="path of the text file, relative to the data directory"
    )
    level: Level = Field(default="char", description="whether a token is a character or a word")
    length: int = Field(default=150, ge=1, le=100_000, description="steps between two updates; the state is carried")
    vocabulary: int | None = Field(
        default=None,
        ge=2,
        le=1_000_000,
        description="size of the vocabulary, in tokens; if omitted, 256 by character and 10,000 by word",
    )
    validation: FiniteFloat = Field(
        default=0.1, gt=0, le=0.4, description="fraction of the text that validates, before the test part"
    )
    test: FiniteFloat = Field(default=0.1, gt=0, le=0.4, description="fraction of the text that tests, at its end")

    @property
    def sequence_length(self) -> int:
        """The field ``length``."""
        return self.length

    @property
    def vocabulary_size(self) -> int:
        """The field ``vocabulary``, or 256 by character and 10,000 by word, however few tokens the text has."""
        return self.vocabulary or SIZES[self.level]

    @property
    def baseline(self) -> float:
        """Loss of a uniform guess, ln of the vocabulary's size."""
        return math.log(self.vocabulary_size)

    def streams(self, data_dir: Path | None) -> Streams:
        """Read the file, cut it into the three parts and number its tokens."""
        path = file_in(data_dir, self.file)
        return _streams(self, path, version_of(path))


@lru_cache(maxsize=2)
def _streams(task: Text, path: Path, version: tuple[int, int]) -> Streams:
    """Read a text; ``version`` (``version_of``) keeps the cache from returning an older text."""
    tokens = _tokens(path, task.file, task.level)
    test = len(tokens) - int(len(tokens) * task.test)
    validation = test - int(len(tokens) * task.validation)
    train, held_out, last = tokens[:validation], tokens[validation:test], tokens[test:]
    if min(map(len, (train, held_out, last))) < 2:
        raise DataMissing(
            f"{task.file} has {len(tokens)} tokens: too few to train, validate and test, 2 each. Use a longer text."
        )
    known = Vocabulary.most_frequent(train, task.vocabulary_size)
    return Streams(known, known.ids(train), known.ids(held_out), known.ids(last))


def _tokens(path: Path, file: str, level: Level) -> list[str]:
    text = with_line_feeds(read_text(path, file))
    if level == "char":
        return list(text)
    return [token for line in lines_of(text) for token in (*line.split(), LINE_END)]

"""Your own plain text for language modelling, by character or by word."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, FiniteFloat

from workers.errors import DataMissing
from workers.tasks.data_folder import file_in, inside
from workers.tasks.language import LanguageTask, Streams
from workers.tasks.task import MetricDirections, decided_by, scored
from workers.tasks.vocabulary import LINE_END, Level, Vocabulary

SIZES: dict[Level, int] = {"char": 256, "word": 10_000}


class Text(LanguageTask):
    """A UTF-8 file; its most frequent tokens, counted in the part trained on, are the vocabulary, others ``<unk>``.

    Words stand between white space; a line's end is a token too. From the end of the text the last tokens test, those
    before them validate. Metrics: loss in nats; ``bpc`` by character, ``perplexity`` by word.
    Baseline: a uniform guess, ln of the vocabulary's size, since the file is not read where a sweep is checked.
    """

    metrics: ClassVar[MetricDirections] = decided_by(
        lambda task: scored("loss", "bpc" if task.level == "char" else "perplexity"),
        listed=scored("loss", "bpc", "perplexity"),
    )
    summary: ClassVar[str] = "A plain text file of your own: predict the next character or word."

    name: Literal["text"] = "text"
    file: Annotated[str, AfterValidator(inside)] = Field(
        min_length=1, max_length=1_000, description="path of the text, relative to the data directory"
    )
    level: Level = "char"
    length: int = Field(default=150, ge=1, le=100_000, description="steps between two updates; the state is carried")
    vocabulary: int | None = Field(
        default=None, ge=2, le=1_000_000, description="tokens told apart; default: 256 by character, 10,000 by word"
    )
    validation: FiniteFloat = Field(default=0.1, gt=0, le=0.4, description="share of the text, before the test part")
    test: FiniteFloat = Field(default=0.1, gt=0, le=0.4, description="share of the text, at its end")

    @property
    def sequence_length(self) -> int:
        return self.length

    @property
    def vocabulary_size(self) -> int:
        return self.vocabulary or SIZES[self.level]

    @property
    def baseline(self) -> float:
        return math.log(self.vocabulary_size)

    def streams(self, data_dir: Path | None) -> Streams:
        path = file_in(data_dir, self.file)
        return _streams(self, path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _streams(task: Text, path: Path, changed: int) -> Streams:
    """``changed``: when the file was, so that a new text is read anew."""
    tokens = _tokens(path, task.level)
    test = len(tokens) - int(len(tokens) * task.test)
    validation = test - int(len(tokens) * task.validation)
    train, held_out, last = tokens[:validation], tokens[validation:test], tokens[test:]
    if min(map(len, (train, held_out, last))) < 2:
        raise DataMissing(f"{path} has {len(tokens)} tokens: too few to train, validate and test. Use a longer text.")
    known = Vocabulary.most_frequent(train, task.vocabulary_size)
    return Streams(known, known.ids(train), known.ids(held_out), known.ids(last))


def _tokens(path: Path, level: Level) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataMissing(f"{path} is not UTF-8 text: line {line}, byte {error.start:,} ({error.reason}).") from error
    if level == "char":
        return list(text)
    return [token for line in text.splitlines() for token in (*line.split(), LINE_END)]

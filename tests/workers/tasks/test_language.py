"""Penn Treebank and text of one's own: vocabularies, splits, streams, and files that are missing or wrong."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from workers.errors import DataMissing
from workers.tasks import MASKED
from workers.tasks.language import LanguageTask, in_rows
from workers.tasks.ptb import CHARACTERS, WORDS, PtbChar, PtbWord
from workers.tasks.text import Text
from workers.tasks.vocabulary import Vocabulary


def entropy(ids: npt.NDArray[np.int64]) -> float:
    shares = np.bincount(ids)[np.unique(ids)] / len(ids)
    return float(-(shares * np.log(shares)).sum())


def shown(task: LanguageTask, ids: npt.NDArray[np.int64], data_dir: Path) -> list[str]:
    symbols = task.streams(data_dir).vocabulary.symbols
    return [symbols[i] for i in ids]


@pytest.fixture
def ptb_dir(data_dir: Path) -> Path:
    if not (data_dir / "ptb").is_dir():
        pytest.skip("SPECTRAL_DATA_DIR has no folder ptb/")
    return data_dir


@pytest.fixture
def small_ptb(tmp_path: Path) -> Path:
    """Six files as they are passed on, with other content."""
    (tmp_path / "ptb").mkdir()
    lines = {"train": "a b c a\n", "valid": "a d b c\n" * 6, "test": "c <unk> e\n"}
    for part, line in lines.items():
        (tmp_path / "ptb" / f"ptb.{part}.txt").write_text(f" {line}")
        (tmp_path / "ptb" / f"ptb.char.{part}.txt").write_text(f" {line.replace('<unk>', '_')}")
    return tmp_path


@pytest.mark.parametrize("task", [PtbChar(train_on="valid"), PtbWord(train_on="valid")], ids=lambda task: task.name)
def test_penn_treebank_trains_on_valid_where_train_is_missing(task: PtbChar | PtbWord, ptb_dir: Path) -> None:
    streams = task.streams(ptb_dir)
    assert len(streams.vocabulary.symbols) == task.tokens == task.input_size == task.output_size
    assert set(streams.train.tolist()) == set(range(task.vocabulary_size))
    assert task.baseline == pytest.approx(entropy(streams.test), abs=1e-4)
    assert len(streams.validation) == pytest.approx(len(streams.train) / 9, rel=1e-3)
    train = task.training_data(ptb_dir)
    assert train is not None
    assert train.inputs.dtype == train.targets.dtype == np.int64
    assert np.array_equal(train.inputs[0, 1:], train.targets[0, :-1])
    for split, ids in (("validation", streams.validation), ("test", streams.test)):
        assert (task.held_out(split, ptb_dir).targets != MASKED).sum() == len(ids) - 1  # type: ignore[arg-type]


def test_the_first_and_last_words_and_characters_are_those_of_the_files(ptb_dir: Path) -> None:
    words, characters = PtbWord(train_on="valid"), PtbChar(train_on="valid")
    assert shown(words, words.streams(ptb_dir).train[:4], ptb_dir) == ["consumers", "may", "want", "to"]
    assert "".join(shown(characters, characters.streams(ptb_dir).train[:16], ptb_dir)) == "consumers_may_wa"
    assert shown(characters, characters.streams(ptb_dir).test[-2:], ptb_dir)[-1] == "<eos>"


def test_the_baseline_of_words_is_that_of_the_test_file(ptb_dir: Path) -> None:
    """All words of the test file are among the 10,000 of the train file, so that file is not needed for it."""
    text = (ptb_dir / "ptb" / "ptb.test.txt").read_text()
    words = [word for line in text.splitlines() for word in (*line.split(), "<eos>")]
    assert PtbWord().baseline == pytest.approx(entropy(np.unique(words, return_inverse=True)[1]), abs=1e-4)


def test_three_files_are_train_validation_and_test(small_ptb: Path) -> None:
    task = PtbWord()
    streams = task.streams(small_ptb)
    assert streams.vocabulary.symbols == ("<unk>", "a", "<eos>", "b", "c")
    assert shown(task, streams.train, small_ptb) == ["a", "b", "c", "a", "<eos>"]
    assert shown(task, streams.validation[:6], small_ptb) == ["a", "<unk>", "b", "c", "<eos>", "a"]
    assert shown(task, streams.test, small_ptb) == ["c", "<unk>", "<unk>", "<eos>"]
    assert task.tokens == WORDS["train"] == 10_000
    characters = PtbChar().streams(small_ptb)
    assert characters.vocabulary == CHARACTERS
    assert len(CHARACTERS.symbols) == len(set(CHARACTERS.symbols)) == 50
    assert len(characters.train) == 5


def test_a_word_of_the_validation_part_alone_is_unknown(small_ptb: Path) -> None:
    (small_ptb / "ptb" / "ptb.valid.txt").write_text("a b\n" * 9 + "a new\n")
    task = PtbWord(train_on="valid")
    streams = task.streams(small_ptb)
    assert streams.vocabulary.symbols == ("<unk>", "<eos>", "a", "b")
    assert shown(task, streams.train[-3:], small_ptb) == ["a", "b", "<eos>"]
    assert shown(task, streams.validation, small_ptb) == ["a", "<unk>", "<eos>"]


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_a_missing_file_is_named_with_its_place(small_ptb: Path, part: str) -> None:
    (small_ptb / "ptb" / f"ptb.char.{part}.txt").unlink()
    with pytest.raises(DataMissing, match=rf"ptb\.char\.{part}\.txt cannot be read from .*SPECTRAL_DATA_DIR") as found:
        PtbChar().streams(small_ptb)
    assert ("train_on" in str(found.value)) == (part == "train")


def test_a_character_that_no_such_file_holds_is_named(small_ptb: Path) -> None:
    (small_ptb / "ptb" / "ptb.char.test.txt").write_text("a é b\n")
    with pytest.raises(DataMissing, match=r"ptb\.char\.\*\.txt is not the one in common use: its token 2, 'é'"):
        PtbChar().streams(small_ptb)


def write(folder: Path, text: str) -> str:
    (folder / "mine.txt").write_text(text, encoding="utf-8")
    return "mine.txt"


def test_a_text_is_split_from_its_end_and_its_vocabulary_is_that_of_the_first_part(tmp_path: Path) -> None:
    task = Text(file=write(tmp_path, "ab" * 40 + "c" * 10 + "abab\nabab\n"), vocabulary=3)
    streams = task.streams(tmp_path)
    assert streams.vocabulary.symbols == ("<unk>", "a", "b")
    assert [len(part) for part in (streams.train, streams.validation, streams.test)] == [80, 10, 10]
    assert streams.validation.tolist() == [0] * 10
    assert streams.test.tolist() == [1, 2, 1, 2, 0, 1, 2, 1, 2, 0]
    assert task.metrics == {"loss": "minimize", "bpc": "minimize"}
    assert task.baseline == pytest.approx(np.log(3))


def test_words_of_a_text_stand_between_white_space(tmp_path: Path) -> None:
    task = Text(file=write(tmp_path, "the cat  sat\nthe dog sat\n" * 5), level="word", validation=0.25, test=0.25)
    assert shown(task, task.streams(tmp_path).train[:5], tmp_path) == ["the", "cat", "sat", "<eos>", "the"]
    assert task.metrics == {"loss": "minimize", "perplexity": "minimize"}
    assert task.tokens == 10_000
    assert Text.metrics.keys() == {"loss", "bpc", "perplexity"}


def test_a_changed_text_is_read_anew(tmp_path: Path) -> None:
    task = Text(file=write(tmp_path, "ab" * 50))
    assert "z" not in task.streams(tmp_path).vocabulary.symbols
    write(tmp_path, "zy" * 50)
    os.utime(tmp_path / "mine.txt", ns=(1, 1))
    assert "z" in task.streams(tmp_path).vocabulary.symbols


@pytest.mark.parametrize("file", ["../mine.txt", "/etc/passwd", "a/../../b", "", "a\\..\\b", "a\0b"])
def test_a_text_outside_of_the_data_directory_is_refused(file: str) -> None:
    with pytest.raises(ValidationError, match=r"not a path inside the data directory|at least 1 character"):
        Text(file=file)


def test_a_link_out_of_the_data_directory_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path, "secret" * 20)
    (tmp_path / "data" / "link.txt").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(DataMissing, match="leads out of the data directory"):
        Text(file="link.txt").streams(tmp_path / "data")


@pytest.mark.parametrize(
    ("content", "problem"), [(b"ok\nbad \xff", "line 2, column 5: found the bytes FF"), (b"short", "5 tokens: too few")]
)
def test_texts_that_cannot_be_used_are_named(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "mine.txt").write_bytes(content)
    with pytest.raises(DataMissing, match=problem):
        Text(file="mine.txt").streams(tmp_path)
    with pytest.raises(DataMissing, match=r"other\.txt is not in .*SPECTRAL_DATA_DIR"):
        Text(file="other.txt").streams(tmp_path)


@pytest.mark.parametrize("count", [2, 3, 33, 34, 64, 65, 1_000])
def test_rows_follow_each_other_and_every_token_is_predicted_once(count: int) -> None:
    found = in_rows(np.arange(count))
    counted = found.targets != MASKED
    assert found.inputs.shape == found.targets.shape
    assert len(found) <= 32
    assert np.array_equal(found.inputs[counted], np.arange(count - 1))
    assert np.array_equal(found.targets[counted], np.arange(1, count))


def test_ties_in_a_vocabulary_are_in_their_own_order() -> None:
    known = Vocabulary.most_frequent(["b", "a", "c", "c", "<unk>", "<unk>", "<unk>"], 3)
    assert known.symbols == ("<unk>", "c", "a")
    assert known.ids(["a", "b", "c"]).tolist() == [2, 0, 1]

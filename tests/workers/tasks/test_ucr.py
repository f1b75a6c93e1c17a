"""The two formats of the archive, the steps and splits of the task, and real data sets if they are available."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from workers.errors import DataMissing
from workers.tasks import MASKED
from workers.tasks.readers.errors import DataWrong
from workers.tasks.readers.series import complete
from workers.tasks.readers.targets import classes_of
from workers.tasks.readers.ts import read_ts
from workers.tasks.readers.tsv import read_tsv
from workers.tasks.splits import drawn, stratified
from workers.tasks.ucr import Ucr

HEADER = "# a comment\n@problemName Mine\n@timeStamps false\n@univariate true\n@classLabel true a b\n"
TWO_DIMENSIONS = "@problemName Two\n@univariate false\n@dimensions 2\n@equalLength false\n@classLabel true a b\n@data\n"


@pytest.fixture
def ucr_dir(data_dir: Path) -> Path:
    if not (data_dir / "ucr").is_dir():
        pytest.skip("SPECTRAL_DATA_DIR has no folder ucr/ with sets of the archive")
    return data_dir


def written(folder: Path, text: str, name: str = "mine.ts") -> Path:
    (folder / name).write_text(text)
    return folder / name


def put(folder: Path, suffix: str, train: str, test: str, name: str = "Mine") -> None:
    (folder / "ucr").mkdir(exist_ok=True)
    written(folder / "ucr", train, f"{name}_TRAIN{suffix}")
    written(folder / "ucr", test, f"{name}_TEST{suffix}")


def test_ts_gives_series_labels_and_gaps(tmp_path: Path) -> None:
    found = read_ts(written(tmp_path, HEADER + "@data\n1,2.5,-3e-1:a\n\n4,?,6:b\n"), "mine.ts")
    np.testing.assert_array_equal(found.values[0], [[1], [2.5], [-0.3]])
    np.testing.assert_array_equal(found.values[1], [[4], [np.nan], [6]])
    assert [label.tolist() for label in found.targets] == [["a"], ["b"]]
    assert found.classes == ["a", "b"]
    assert found.place(1, 1, 0) == "line 9, dimension 1, value 2"


def test_ts_of_two_dimensions_and_different_lengths(tmp_path: Path) -> None:
    found = read_ts(written(tmp_path, TWO_DIMENSIONS + "1,2,3:4,5,6:a\n7:8:b\n"), "two.ts")
    np.testing.assert_array_equal(found.values[0], [[1, 4], [2, 5], [3, 6]])
    assert (found.length, found.features) == (3, 2)
    assert found.values[1].tolist() == [[7, 8]]


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        (HEADER, "the end of the file", "@data"),
        (HEADER + "@data\n", "after @data", "one series per line"),
        (HEADER + "@data\n1,2,x:a\n", "line 7, dimension 1, value 3: found 'x'", "a number"),
        (HEADER + "@data\n1,,2:a\n", "line 7, dimension 1, value 2: found ''", "a number"),
        (HEADER + "@data\n1,2:3,4:a\n", "line 7: found 2 dimensions", "1 dimensions and a label"),
        (HEADER + "@data\na\n", "line 7: found 0 dimensions", "and a label"),
        (HEADER + "@equalLength true\n@data\n1,2:a\n1:b\n", "line 9: found 1 values", "2 values, since the header"),
        (HEADER + "@seriesLength 3\n@data\n1,2:a\n", "line 8: found 2 values", "3 values, since the header"),
        (HEADER + "@seriesLength many\n@data\n1,2:a\n", "line 6, @serieslength: found 'many'", "a whole number"),
        (HEADER + "@wrong\n@data\n1:a\n", "line 6: found '@wrong'", "a tag"),
        ("@univariate maybe\n@data\n1\n", "line 1, @univariate: found 'maybe'", "true or false"),
        ("@timeStamps true\n@data\n(0,1)\n", "line 1, @timeStamps", "false, since"),
        (TWO_DIMENSIONS + "1,2:3:a\n", "line 7, dimension 2: found 1 values", "2 values, as many as in dimension 1"),
    ],
)
def test_mistakes_in_ts_are_named_with_their_place(tmp_path: Path, text: str, place: str, expected: str) -> None:
    with pytest.raises(DataWrong) as caught:
        read_ts(written(tmp_path, text), "mine.ts")
    message = str(caught.value)
    assert message.startswith("mine.ts, ")
    assert place in message
    assert expected in message.partition("expected")[2]


def test_tsv_ends_a_series_at_its_last_value(tmp_path: Path) -> None:
    found = read_tsv(written(tmp_path, "1\t0.5\t1\tNaN\n-1.0\t2\tNaN\t3\n", "a.tsv"), "a.tsv")
    assert [label.tolist() for label in found.targets] == [["1"], ["-1.0"]]
    assert classes_of(found, "") == ["-1", "1"]
    assert [len(one) for one in found.values] == [2, 3]
    assert found.place(1, 1, 0) == "line 2, column 3"
    with pytest.raises(DataWrong, match=r"a\.tsv, line 2, column 3: found no value.*interpolate"):
        complete(found, "refuse")
    assert complete(found, "interpolate").values[1].ravel().tolist() == [2, 2.5, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"line 1: found no series"),
        ("1\t2\t3\n1\t2\n", r"line 2: found 2 columns; expected 3"),
        ("1\n", r"line 1: found 1 columns; expected 2"),
        ("1\t2\t3\n1\t2\tx\n", r"line 2, column 3: found 'x'; expected a number"),
    ],
)
def test_mistakes_in_tsv_are_named_with_their_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataWrong, match=message):
        read_tsv(written(tmp_path, text, "a.tsv"), "a.tsv")


@pytest.mark.parametrize(("value", "message"), [("inf", "finite"), ("1e39", "finite"), ("?", "no value")])
def test_what_no_net_can_read_is_refused(tmp_path: Path, value: str, message: str) -> None:
    found = read_ts(written(tmp_path, f"{HEADER}@data\n1,{value}:a\n"), "mine.ts")
    with pytest.raises(DataWrong, match=f"line 7, dimension 1, value 2.*{message}"):
        complete(found, "refuse")


def test_gaps_at_the_ends_take_the_nearest_value_and_a_series_of_gaps_is_refused(tmp_path: Path) -> None:
    found = complete(read_ts(written(tmp_path, HEADER + "@data\n?,1,?,?,4,?:a\n"), "m"), "interpolate")
    assert found.values[0].ravel().tolist() == [1, 1, 2, 3, 4, 4]
    nothing = read_ts(written(tmp_path, HEADER + "@data\n?,?:a\n"), "m")
    with pytest.raises(DataWrong, match="value 1"):
        complete(nothing, "interpolate")


def lines(length: int, labels: str) -> str:
    rng = np.random.default_rng(length)
    return "".join(f"{label}\t" + "\t".join(map(str, rng.normal(size=length))) + "\n" for label in labels)


@pytest.mark.parametrize(
    ("length", "width", "steps", "size"),
    [(251, None, 251, 1), (131, None, 131, 1), (128, None, 16, 8), (150, None, 15, 10), (1, None, 1, 1), (10, 4, 3, 4)],
)
def test_the_rule_of_the_steps(tmp_path: Path, length: int, width: int | None, steps: int, size: int) -> None:
    """ArrowHead, FaceAll and CBF as the paper counts them; a width of one's own fills the last step up with zeros."""
    put(tmp_path, ".tsv", lines(length, "ababab"), lines(length, "ab"))
    task = Ucr(dataset="Mine", width=width).with_info(tmp_path)
    assert (task.sequence_length, task.input_size, task.output_size) == (steps, size, 2)
    found = task.held_out("test", tmp_path)
    assert found.inputs.shape == (2, steps, size)
    flat = found.inputs.reshape(2, -1)
    original = np.loadtxt(tmp_path / "ucr" / "Mine_TEST.tsv", usecols=range(1, length + 1), ndmin=2)
    np.testing.assert_array_equal(flat[:, :length], original.astype(np.float32))
    assert (flat[:, length:] == 0).all()
    assert found.lengths is None


def test_series_of_different_lengths_and_two_dimensions(tmp_path: Path) -> None:
    body = "1,2,3,4:5,6,7,8:a\n1,2:3,4:b\n1:2:a\n4,3,2:9,8,7:b\n"
    put(tmp_path, ".ts", TWO_DIMENSIONS + body, TWO_DIMENSIONS + body)
    task = Ucr(dataset="Mine").with_info(tmp_path)
    assert (task.sequence_length, task.input_size) == (2, 4)
    found = task.held_out("test", tmp_path)
    assert found.lengths is not None
    assert found.lengths.tolist() == [2, 1, 1, 2]
    assert found.inputs[0].tolist() == [[1, 5, 2, 6], [3, 7, 4, 8]]
    assert found.inputs[3].tolist() == [[4, 9, 3, 8], [2, 7, 0, 0]]
    train, held = task.training_data(tmp_path), task.held_out("validation", tmp_path)
    assert train is not None
    assert sorted([*train.targets.tolist(), *held.targets.tolist()]) == [0, 0, 1, 1]
    assert train.lengths is not None
    assert len(train.lengths) == len(train)


def test_normalising_is_by_series_and_before_zeros_are_added(tmp_path: Path) -> None:
    put(tmp_path, ".tsv", "a\t1\t3\tNaN\na\t5\t5\t5\nb\t0\t1\t2\n", "a\t1\t3\tNaN\nb\t5\t5\t5\n")
    found = Ucr(dataset="Mine", normalize=True, width=1).held_out("test", tmp_path)
    assert found.inputs[:, :, 0].tolist() == [[-1, 1, 0], [0, 0, 0]]


def test_sizes_come_from_both_files(tmp_path: Path) -> None:
    put(tmp_path, ".ts", HEADER + "@data\n1,2,3:a\n1,2:b\n", HEADER + "@data\n1,2,3,4:a\n")
    task = Ucr(dataset="Mine").with_info(tmp_path)
    assert (task.sequence_length, task.input_size, task.output_size) == (2, 2, 2)


def test_a_label_that_training_has_not_is_refused(tmp_path: Path) -> None:
    put(tmp_path, ".tsv", lines(4, "aabb"), lines(4, "abc"))
    with pytest.raises(DataWrong, match=r"Mine_TEST\.tsv, line 3, column 1: found 'c'; expected one of a, b"):
        Ucr(dataset="Mine").with_info(tmp_path)


def test_data_that_does_not_fit_its_facts_is_refused(tmp_path: Path) -> None:
    put(tmp_path, ".tsv", lines(4, "aabb"), lines(4, "ab"))
    facts = {"Mine": {"length": 3, "features": 1, "classes": ["a", "b"]}}
    task = Ucr.model_validate({"name": "ucr", "dataset": "Mine", "facts": facts})
    with pytest.raises(DataWrong, match="at most 3 steps of 1"):
        task.held_out("test", tmp_path)


def test_a_missing_set_is_named_with_the_place_for_it(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"Mine_TRAIN\.ts.*SPECTRAL_DATA_DIR"):
        Ucr(dataset="Mine").with_info(tmp_path)
    with pytest.raises(DataMissing, match="not known"):
        _ = Ucr(dataset="Mine").sequence_length


def test_of_every_class_a_part_is_held_out_and_never_all() -> None:
    labels = np.repeat([0, 1, 2, 3], [40, 10, 2, 1])
    held = stratified(labels, 0.2, 0)
    assert [int(held[labels == one].sum()) for one in range(4)] == [8, 2, 0, 0]
    assert np.array_equal(held, stratified(labels, 0.2, 0))
    assert not np.array_equal(held, stratified(labels, 0.2, 1))
    assert stratified(np.array([0, 0, 1]), 0.1, 0).tolist().count(True) == 1
    assert not stratified(np.array([0, 1]), 0.5, 0).any()
    assert [int(drawn(count, 0.1, 0).sum()) for count in (1, 2, 5, 30)] == [0, 1, 1, 3]


def test_a_draw_leaves_a_sequence_with_every_class_to_train_on() -> None:
    common, rare = np.zeros((30, 4), np.int64), np.full((30, 4), MASKED)
    rare[:, 0], rare[11, 2] = 0, 1
    for seed in range(50):
        usual, found = drawn(30, 0.2, seed, common), drawn(30, 0.2, seed, rare)
        assert np.array_equal(usual, drawn(30, 0.2, seed))
        assert not found[11]
        assert found.sum() == 6
        assert usual[11] or np.array_equal(found, usual)
    assert sum(drawn(30, 0.2, seed, common)[11] for seed in range(50)) > 0
    assert not drawn(3, 0.3, 0, np.arange(3)[:, None]).any()


@pytest.mark.parametrize(
    ("dataset", "steps", "classes", "counts"),
    [
        ("ArrowHead", 251, 3, (36, 175)),
        ("GunPoint", 15, 2, (50, 150)),
        ("ItalyPowerDemand", 6, 2, (67, 1029)),
        ("OSULeaf", 61, 6, (200, 242)),
    ],
)
def test_real_sets_of_the_archive(
    ucr_dir: Path, dataset: str, steps: int, classes: int, counts: tuple[int, int]
) -> None:
    task = Ucr(dataset=dataset).with_info(ucr_dir)
    train, validation = task.training_data(ucr_dir), task.held_out("validation", ucr_dir)
    test = task.held_out("test", ucr_dir)
    assert train is not None
    assert (len(train) + len(validation), len(test)) == counts
    for found in (train, validation, test):
        assert found.inputs.shape[1:] == (steps, task.input_size) == (task.sequence_length, task.input_size)
        assert set(found.targets.tolist()) == set(range(classes))
        assert found.lengths is None
    scale = test.inputs.reshape(len(test), -1).std(axis=1)
    assert np.allclose(scale, 1, atol=0.05), "the archive's series come normalised, so the task leaves them as they are"


def test_a_set_that_changed_since_it_was_submitted_is_refused(tmp_path: Path) -> None:
    put(tmp_path, ".tsv", "1\t0\t1\n2\t2\t3\n" * 4, "1\t0\t1\n2\t2\t3\n")
    task = Ucr(dataset="Mine").with_info(tmp_path)
    put(tmp_path, ".tsv", "1\t0\t1\n2\t2\t3\n" * 4, "1\t0\t1\n2\t2\t4\n")
    with pytest.raises(DataWrong, match=r"Mine_TRAIN\.tsv, Mine_TEST\.tsv, the data: found other series"):
        task.training_data(tmp_path)


def test_a_set_of_numbers_to_predict_is_sent_to_the_task_that_does_so(tmp_path: Path) -> None:
    header = "@problemName Mine\n@univariate true\n@targetlabel true\n@data\n"
    put(tmp_path, ".ts", header + "1,2:0.5\n3,4:1.5\n", header + "1,2:0.5\n")
    with pytest.raises(DataWrong, match="use the task own_data with kind regression"):
        Ucr(dataset="Mine").with_info(tmp_path)
    put(tmp_path, ".tsv", "0.5\t1\t2\n1.5\t3\t4\n", "0.5\t1\t2\n", name="Other")
    with pytest.raises(DataWrong, match="use the task own_data with kind regression"):
        Ucr(dataset="Other").with_info(tmp_path)

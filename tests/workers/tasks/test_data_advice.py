"""What makes scores hard to trust is found in data that has it, with its numbers, and in no other data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from tests.workers.tasks.image_files import put
from workers.errors import DataMissing
from workers.tasks.data_advice import RULES, DataFinding, findings, half_width, interval
from workers.tasks.data_statistics import DataStatistics
from workers.tasks.dataset_info import DatasetInfo
from workers.tasks.images import Images
from workers.tasks.own_data import OwnData
from workers.tasks.ucr import Ucr

MANY = 240
"""Series of which 36 validate and 36 test: enough for no set to be tiny."""


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def labels(count: int = MANY, classes: int = 2, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.arange(count) % classes)


def found(folder: Path, **arrays: Any) -> dict[str, DataFinding]:
    """The findings about an npz file with these arrays; what is no array is a field of the task."""
    kept = {name: value for name, value in arrays.items() if name in ("inputs", "targets", "lengths")}
    np.savez(folder / "data.npz", **kept)
    fields = {name: value for name, value in arrays.items() if name not in kept}
    return findings(measured(folder, file="data.npz", **fields))


def measured(folder: Path, **fields: Any) -> OwnData:
    return OwnData.model_validate(fields).with_statistics(folder)


def of(task: OwnData | Ucr | Images) -> DataStatistics:
    assert task.info.statistics is not None
    return task.info.statistics


def hidden(kind: str, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Inputs (N, T, F) in which feature 1 has the target in some disguise."""
    count, steps, _ = x.shape
    every = np.repeat(y[:, None], steps, axis=1).astype(float)
    inputs, step = x.copy(), np.arange(steps)
    inputs[:, :, 1] = {
        "copy": every,
        "scaled": 3 - 7 * every,
        "with noise": every + 0.01 * x[:, :, 1],
        "one-way code": (every * 7 + 3) % 5,
        "id of sorted rows": 1_000 * every + np.arange(count)[:, None],
        "time of recording": 86_400 * every + np.arange(count)[:, None] * 60 + step,
        "outcome at the end": np.where(step == steps - 1, every + 1, 0.0),
        "outcome at the beginning": np.where(step == 0, every + 1, 0.0),
        "nothing": x[:, :, 1],
        "a trend that shows with time": x[:, :, 1] * 0.3 + (every - 0.5) * 0.5 * (step + 1),
    }[kind]
    return inputs


DISGUISES = [
    "copy",
    "scaled",
    "with noise",
    "one-way code",
    "id of sorted rows",
    "time of recording",
    "outcome at the end",
    "outcome at the beginning",
]


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_feature_that_is_the_target_in_disguise_is_found(tmp_path: Path, disguise: str, classes: int) -> None:
    y = labels(classes=classes)
    inputs = hidden(disguise, y, noise(0, MANY, 6, 3))
    hit = found(tmp_path, inputs=inputs, targets=y)["gives away"]
    assert "feature 2" in hit.problem
    assert "val/accuracy 1" in hit.problem
    assert "leave it out with task.inputs" in hit.advice


@pytest.mark.parametrize("disguise", ["nothing", "a trend that shows with time"])
@pytest.mark.parametrize("classes", [2, 5])
def test_a_feature_that_is_noise_or_has_merit_is_not(tmp_path: Path, disguise: str, classes: int) -> None:
    y = labels(classes=classes)
    assert found(tmp_path, inputs=hidden(disguise, y, noise(0, MANY, 6, 3)), targets=y) == {}


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_classes_that_are_rare_are_given_away_too(tmp_path: Path, share: float) -> None:
    y = (np.arange(MANY) < share * MANY)[np.random.default_rng(2).permutation(MANY)].astype(int)
    x = noise(0, MANY, 6, 3)
    assert "gives away" not in found(tmp_path, inputs=x, targets=y)
    assert "gives away" in found(tmp_path, inputs=hidden("with noise", y, x), targets=y)


def test_the_length_of_a_series_can_give_the_class_away(tmp_path: Path) -> None:
    y = labels()
    hit = found(tmp_path, inputs=noise(0, MANY, 9, 2), targets=y, lengths=4 + 5 * y)["gives away"]
    assert "the number of steps alone tells the class" in hit.problem
    lengths = np.random.default_rng(1).integers(2, 10, MANY)
    assert found(tmp_path, inputs=noise(0, MANY, 9, 2), targets=y, lengths=lengths) == {}


@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_column_of_a_wide_table_that_is_no_step_is_found(tmp_path: Path, place: int) -> None:
    y, x = labels(), np.cumsum(noise(0, MANY, 7), axis=1)
    x[:, place] = 10 * y + np.arange(MANY) / MANY
    rows = [",".join(map(str, [label, *row])) for label, row in zip(y, x.round(4), strict=True)]
    (tmp_path / "wide.csv").write_text("\n".join(["target,a,b,c,d,e,f,g", *rows]))
    hit = findings(measured(tmp_path, file="wide.csv"))["gives away"]
    assert f"the column '{'abcdefg'[place]}' alone tells the class" in hit.problem
    np.savez(tmp_path / "wide.npz", inputs=x, targets=y)
    hit = findings(measured(tmp_path, file="wide.npz"))["gives away"]
    assert f"step {place + 1} of the series alone tells the class" in hit.problem


def test_series_whose_every_step_becomes_clearer_are_no_such_table(tmp_path: Path) -> None:
    y = labels()
    x = np.cumsum(noise(0, MANY, 12) * 0.3 + (y[:, None] - 0.5), axis=1)
    assert found(tmp_path, inputs=x, targets=y) == {}
    probe = of(measured(tmp_path, file="data.npz")).probe
    assert probe is not None
    assert (probe.reading, probe.score) == ("the last value of the series", 1.0)


def test_a_few_series_are_told_by_chance_and_nothing_is_said(tmp_path: Path) -> None:
    y = labels(12)
    assert set(found(tmp_path, inputs=hidden("copy", y, noise(0, 12, 6, 30)), targets=y)) == {"tiny", "swapped axes"}


@pytest.mark.parametrize("leaks", [False, True])
def test_a_target_for_every_step_is_given_away_by_a_feature_of_the_step(tmp_path: Path, leaks: bool) -> None:
    y = np.random.default_rng(0).integers(0, 3, (60, 20))
    x = noise(1, 60, 20, 3)
    if leaks:
        x[:, :, 2] = 5 - y
    hits = found(tmp_path, inputs=x, targets=y, every_step=True)
    assert set(hits) == ({"gives away"} if leaks else set())
    if leaks:
        assert "the value of feature 3 at the same step alone tells the class" in hits["gives away"].problem


@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("leaks", [False, True])
def test_a_number_to_predict_is_given_away_by_a_line(tmp_path: Path, leaks: bool, every_step: bool) -> None:
    y = noise(0, MANY, 8, 2) if every_step else noise(0, MANY, 2)
    x = noise(1, MANY, 8, 3)
    if leaks:
        x[:, :, 1] = 32 + 1.8 * (y[:, :, 1] if every_step else y[:, 1:])
    hits = found(tmp_path, inputs=x, targets=y, kind="regression", every_step=every_step)
    assert set(hits) == ({"gives away"} if leaks else set())
    if leaks:
        where = "the value of feature 2 at the same step" if every_step else "the last value of feature 2"
        assert f"{where} alone explains 100.00 % of a target's variance" in hits["gives away"].problem


def test_features_are_named_by_their_columns(tmp_path: Path) -> None:
    y, x = labels(), noise(0, MANY, 3)
    rows = [f"s{n},{t},{x[n, t]},{y[n]},{y[n]}" for n in range(MANY) for t in range(3)]
    (tmp_path / "long.csv").write_text("\n".join(["series,step,x,outcome,target", *rows]))
    assert "the last value of 'outcome' alone" in findings(measured(tmp_path, file="long.csv"))["gives away"].problem


@pytest.mark.parametrize(("copies", "warned"), [(0, False), (1, True), (20, True)])
def test_series_that_are_in_two_sets_are_counted(tmp_path: Path, copies: int, warned: bool) -> None:
    x, y = noise(0, MANY, 5, 2), labels()
    np.savez(tmp_path / "test.npz", inputs=np.concatenate([x[:copies], noise(1, 60 - copies, 5, 2)]), targets=y[:60])
    hits = found(tmp_path, inputs=x, targets=y, test_file="test.npz")
    numbers = of(measured(tmp_path, file="data.npz", test_file="test.npz"))
    # a few of the copied series validate, and are not in the training set
    assert numbers.shared_test <= copies
    assert ("repeated" in hits) == (numbers.shared_test > 0) == warned
    if warned:
        assert f"has {numbers.shared_test} of 60 test series in the training set too" in hits["repeated"].problem
        assert "task.validation_file" in hits["repeated"].advice


def test_padding_makes_no_two_series_equal(tmp_path: Path) -> None:
    x = np.repeat(noise(0, MANY // 2, 6, 1), 2, axis=0)
    x[:, 3:] = 0
    lengths = np.tile([3, 5], MANY // 2)
    assert "repeated" not in found(tmp_path, inputs=x, targets=labels(), lengths=lengths)
    assert "repeated" in found(tmp_path, inputs=x, targets=labels())


@pytest.mark.parametrize(
    ("share", "classes", "warned"),
    [(0.5, 2, False), (0.79, 2, False), (0.9, 2, True), (0.4, 10, False), (0.6, 10, True)],
)
def test_a_class_that_outweighs_the_others_is_named(tmp_path: Path, share: float, classes: int, warned: bool) -> None:
    count = 600
    y = np.where(np.arange(count) < share * count, 0, 1 + np.arange(count) % (classes - 1))
    hits = found(tmp_path, inputs=noise(0, count, 4, 2), targets=y)
    assert set(hits) == ({"unbalanced"} if warned else set())
    if warned:
        assert f"the class '0' in {100 * share:.0f} % of the training series" in hits["unbalanced"].problem
        assert f"has val/accuracy {share:.3g}" in hits["unbalanced"].problem


@pytest.mark.parametrize(("count", "warned"), [(60, True), (160, True), (170, False)])
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_sets_that_are_tiny_are_named_with_what_their_size_means(
    tmp_path: Path, count: int, warned: bool, kind: str
) -> None:
    y = labels(count) if kind == "classification" else noise(3, count)
    hits = found(tmp_path, inputs=noise(0, count, 4, 2), targets=y, kind=kind)
    assert set(hits) == ({"tiny"} if warned else set())
    if warned:
        numbers = of(measured(tmp_path, file="data.npz", kind=kind))
        assert f"has {numbers.validation} series to validate and {numbers.test} to test" in hits["tiny"].problem
        size = min(numbers.validation, numbers.test)
        margin = 196 * np.sqrt(0.25 / size) if kind == "classification" else 196 * np.sqrt(2 / size)
        assert f"±{margin:.0f} " in hits["tiny"].problem


def test_only_the_set_that_is_tiny_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "test.npz", inputs=noise(1, 10, 4, 2), targets=labels(10))
    hits = found(tmp_path, inputs=noise(0, MANY, 4, 2), targets=labels(), test_file="test.npz")
    assert hits["tiny"].problem.startswith("has 10 series to test: an accuracy of 50 % on 10 ")


def test_steps_of_few_series_say_little(tmp_path: Path) -> None:
    y = np.random.default_rng(0).integers(0, 2, (12, 300))
    hits = found(tmp_path, inputs=noise(0, 12, 300, 2), targets=y, every_step=True)
    assert set(hits) == {"tiny"}
    assert "steps of one series are alike" in hits["tiny"].problem


@pytest.mark.parametrize(("kind", "words"), [("classification", "±50 points"), ("regression", "about its own size")])
def test_no_uncertainty_is_larger_than_what_can_be(kind: str, words: str) -> None:
    sizes = {"classes": ["a", "b"]} if kind == "classification" else {"outputs": 1}
    numbers = DataStatistics(train=8, validation=2, test=2)
    info = DatasetInfo.model_validate({"length": 4, "features": 1, "statistics": numbers} | sizes)
    task = OwnData.model_validate({"file": "a.npz", "kind": kind, "facts": {"a.npz": info}})
    assert f" on 2 is uncertain by {words}" in findings(task)["tiny"].problem


@pytest.mark.parametrize(("share", "count"), [(0.0, 9), (0.05, 10), (0.5, 2), (0.5, 100), (1.0, 1)])
def test_an_interval_stays_among_the_accuracies(share: float, count: int) -> None:
    low, high = interval(share, count)
    assert 0 <= low <= share <= high <= 1
    assert high - low <= 2 * half_width(share, count) + 1e-12


@pytest.mark.parametrize(("share", "count"), [(0.5, 4), (0.5, 100), (0.9, 100), (1.0, 9)])
def test_the_interval_is_that_of_the_binomial(share: float, count: int) -> None:
    assert half_width(share, count) == pytest.approx(1.96 * np.sqrt(share * (1 - share) / count))


@pytest.mark.parametrize(
    ("values", "warned"),
    [
        (1.7e9 + np.arange(50) * 0.01, True),  # seconds since 1970 at 100 Hz
        (1.7e9 + np.arange(50) * 1.0, True),
        (1.7e12 + np.arange(50) * 1.0, True),  # milliseconds
        (45_000 + np.arange(50) / 86_400, True),  # days, as a spreadsheet counts them
        (np.arange(50) * 0.01, False),
        (np.arange(50) * 1e9, False),
        (2024 + np.arange(50) / 365, False),
        (np.linspace(-1e30, 1e30, 50), False),
    ],
)
def test_values_that_float32_cannot_tell_apart_are_found(tmp_path: Path, values: np.ndarray, warned: bool) -> None:
    x = noise(0, MANY, 50, 2)
    x[:, :, 1] = values
    hits = found(tmp_path, inputs=x, targets=labels())
    assert ("merged" in hits) == warned
    assert "merged" not in found(tmp_path, inputs=x, targets=labels(), normalize=True)
    if warned:
        assert "feature 2" in hits["merged"].problem
        assert "of 50 different values" in hits["merged"].problem
        assert "task.normalize" in hits["merged"].advice


def test_rounding_alone_merges_nothing(tmp_path: Path) -> None:
    x = np.round(noise(0, MANY, 200, 2), 1)
    x += np.random.default_rng(1).integers(-2, 3, x.shape) * 1e-16
    assert found(tmp_path, inputs=x, targets=labels()) == {}


def smooth(count: int, channels: int, steps: int) -> np.ndarray:
    return np.cumsum(noise(0, count, channels, steps), axis=2)


@pytest.mark.parametrize(
    ("inputs", "warned"),
    [
        (smooth(MANY, 3, 40), True),  # (series, channels, time)
        (noise(0, MANY, 3, 40), True),
        (noise(0, MANY, 1, 40), True),
        (smooth(MANY, 3, 40).transpose(0, 2, 1), False),
        (smooth(MANY, 40, 12).transpose(0, 2, 1), False),  # more features than steps, but smooth over the steps
        (noise(0, MANY, 40, 40), False),
    ],
)
def test_axes_in_the_order_of_other_libraries_are_noticed(tmp_path: Path, inputs: np.ndarray, warned: bool) -> None:
    hits = found(tmp_path, inputs=inputs, targets=labels())
    assert ("swapped axes" in hits) == warned
    if warned:
        assert f"has 40 features of {inputs.shape[1]} steps" in hits["swapped axes"].problem
        assert "transpose(0, 2, 1)" in hits["swapped axes"].advice


@pytest.mark.parametrize("missing", [False, True])
def test_features_that_never_change_are_named(tmp_path: Path, missing: bool) -> None:
    x = noise(0, MANY, 8, 8)
    x[:, :, 1], x[:, :, 3] = 4.5, 0
    if missing:
        x[::7, 2, 1] = np.nan
    hits = found(tmp_path, inputs=x, targets=labels(), missing="interpolate")
    assert set(hits) == {"constant"}
    assert "has one value of feature 2 and feature 4 at all steps of all series" in hits["constant"].problem
    x[:, :, :7] = 1
    problem = found(tmp_path, inputs=x, targets=labels())["constant"].problem
    assert "feature 1, feature 2, feature 3, feature 4, feature 5 and 2 more" in problem


def test_a_class_that_no_training_series_has_is_named(tmp_path: Path) -> None:
    header = "@problemName Mine\n@univariate true\n@equalLength true\n@seriesLength 3\n@classLabel true a b c\n@data\n"
    rows = [f"{','.join(map(str, row))}:{'ab'[n % 2]}\n" for n, row in enumerate(noise(0, 200, 3).round(3))]
    (tmp_path / "Mine_TRAIN.ts").write_text(header + "".join(rows))
    (tmp_path / "Mine_TEST.ts").write_text(header + "".join(rows[:40]) + "1,2,3:c\n")
    hits = findings(Ucr(dataset="Mine").with_statistics(tmp_path))
    assert "has the class 'c' in its validation or test set alone" in hits["unlearned"].problem
    assert "of 41 test series in the training set too" in hits["repeated"].problem


def test_images_with_a_stamp_and_images_in_both_sets_are_found(tmp_path: Path) -> None:
    put(tmp_path / "mine", classes=2)
    assert set(findings(Images(dataset="mine").with_statistics(tmp_path))) == {"tiny"}
    for part, count in (("train", 40), ("t10k", 12)):
        content = bytearray((tmp_path / "mine" / f"{part}-images-idx3-ubyte").read_bytes())
        content[16 + 6 :: 20] = bytes(200 * (n % 2) for n in range(count))
        (tmp_path / "mine" / f"{part}-images-idx3-ubyte").write_bytes(content)
    hits = findings(Images(dataset="mine").with_statistics(tmp_path))
    assert "the pixel in row 2, column 3 alone tells the class" in hits["gives away"].problem
    assert "leave it out of the file" in hits["gives away"].advice


@pytest.mark.parametrize("name", ["ArrowHead", "GunPoint", "ItalyPowerDemand", "OSULeaf"])
def test_sets_of_the_archive_are_healthy_but_small(data_dir: Path, name: str) -> None:
    hits = findings(Ucr.model_validate({"dataset": name}).with_statistics(data_dir))
    assert set(hits) == (set() if name == "OSULeaf" else {"tiny"})


def test_mnist_is_healthy(data_dir: Path) -> None:
    assert findings(Images.model_validate({"dataset": "mnist"}).with_statistics(data_dir)) == {}


def test_where_nothing_was_measured_nothing_is_found(tmp_path: Path) -> None:
    facts = {"far.csv": {"length": 3, "features": 1, "classes": ["a", "b"]}}
    task = OwnData.model_validate({"file": "far.csv", "facts": facts})
    assert findings(task) == {}
    assert findings(task.with_statistics(tmp_path)) == {}
    assert findings(OwnData(file="far.csv")) == {}
    with pytest.raises(DataMissing):
        OwnData(file="far.csv").with_statistics(tmp_path)


ODD = [0.0, 1.0, -0.0, 1e-45, 1.7e9, np.nan]
VAST = [1e38, -1e38]


@settings(max_examples=80, deadline=None)
@given(
    shape=st.tuples(st.integers(4, 12), st.integers(1, 4), st.integers(1, 4)),
    kind=st.sampled_from(["classification", "regression"]),
    every_step=st.booleans(),
    normalize=st.booleans(),
    odd=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_anything_that_can_be_trained_on_can_be_measured(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, int, int],
    kind: str,
    every_step: bool,
    normalize: bool,
    odd: float,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)

    def values(choice: list[float], sizes: tuple[int, ...]) -> np.ndarray:
        return np.where(rng.random(sizes) < odd, rng.choice(choice, sizes), rng.normal(size=sizes).round(1))

    targets = shape[:2] if every_step else shape[:1]
    folder = tmp_path_factory.getbasetemp()
    np.savez(
        folder / "any.npz",
        inputs=values(ODD + VAST, shape),
        targets=rng.integers(0, 3, targets) if kind == "classification" else values(ODD, targets),
        lengths=rng.integers(1, shape[1] + 1, shape[0]),
    )
    fields = {"file": "any.npz", "kind": kind, "every_step": every_step, "missing": "interpolate"}
    task = OwnData.model_validate(fields | {"normalize": normalize, "validation": 0.4, "test": 0.3})
    try:
        numbers = task.with_info(folder).read_statistics(folder)
    except DataMissing:
        reject()  # the test fails if nearly all examples are refused
    assert numbers.train + numbers.validation + numbers.test == shape[0]
    assert DataStatistics.model_validate_json(numbers.model_dump_json()) == numbers
    assert set(findings(task.with_statistics(folder))) <= set(RULES)

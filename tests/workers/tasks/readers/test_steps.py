"""Regular times: judged as exactly as they were stored, so that rounding is let pass and a gap never is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.tasks.own_data import OwnData
from workers.tasks.readers.errors import DataWrong

COUNT = 120


def read(folder: Path, times: Any, suffix: str = "csv", **fields: Any) -> OwnData:
    """The task on a table with one series at these times, and a second one of a single step."""
    cells = [*times, times[0]]
    frame = pd.DataFrame({"series": ["a"] * len(times) + ["b"], "step": cells, "x": 1.0})
    frame["target"] = ["p"] * len(times) + ["q"]
    path = folder / f"data.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path, index=False)
    return OwnData.model_validate({"file": path.name} | fields).with_info(folder)


def exact(start: float, distance: float) -> np.ndarray:
    return start + distance * np.arange(COUNT)


REGULAR = {
    "seconds since 1970 at 100 Hz, two decimals": [f"{t:.2f}" for t in exact(1_700_000_000, 0.01)],
    "the same as floats": exact(1_700_000_000, 0.01),
    "float32": exact(0, 0.01).astype(np.float32),
    "float32, written as float64": exact(0, 0.01).astype(np.float32).astype(np.float64),
    "summed floats": np.cumsum(np.full(COUNT, 0.1)),
    "60 Hz in rounded milliseconds": np.round(exact(0, 1000 / 60)).astype(int),
    "60 Hz in seconds of three decimals": [f"{t:.3f}" for t in exact(0, 1 / 60)],
    "30 Hz in seconds of two decimals": np.round(exact(5, 1 / 30), 2),
    "milliseconds since 1970": exact(1_700_000_000_000, 10).astype(np.int64),
    "nanoseconds since 1970": (np.int64(1_700_000_000_000_000_000) + 10_000_000 * np.arange(COUNT)),
    "dates with milliseconds of 60 Hz": pd.to_datetime(np.round(exact(0, 1000 / 60)), unit="ms"),
    "dates a day apart": pd.date_range("2024-01-01", periods=COUNT),
    "dates a day apart, as text": [f"{day:%Y-%m-%d}" for day in pd.date_range("2024-01-01", periods=COUNT)],
    "counted from 1": np.arange(1, COUNT + 1),
    "thousandths of a second, in exponents": [f"{t:.6e}" for t in exact(0, 0.001)],
}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("times", REGULAR.values(), ids=REGULAR.keys())
def test_regular_times_are_read_and_one_that_is_missing_is_found(tmp_path: Path, times: Any, suffix: str) -> None:
    assert read(tmp_path, times, suffix).info.length == COUNT
    for missing in (1, COUNT // 2, COUNT - 2):
        with pytest.raises(DataWrong, match=r"column step: found a step of .*; expected steps of .*uneven to true"):
            read(tmp_path, [*times[:missing], *times[missing + 1 :]], suffix)
    assert read(tmp_path, [*times[:5], *times[6:]], suffix, uneven=True).info.length == COUNT - 1


@given(
    start=st.floats(1e9, 2e9),
    hertz=st.sampled_from([24, 25, 30, 50, 60, 100, 120, 1000]),
    decimals=st.integers(4, 7),
    cut=st.integers(1, 57),
)
def test_unix_seconds_are_read_with_as_many_digits_as_programs_print(
    tmp_path_factory: pytest.TempPathFactory, start: float, hertz: int, decimals: int, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("steps")
    times = [f"{start + n / hertz:.{decimals}f}" for n in range(60)]
    assert read(folder, times).info.length == 60
    with pytest.raises(DataWrong, match=rf"row {cut + 2}, column step: found a step of"):
        read(folder, [*times[:cut], *times[cut + 1 :]])


@pytest.mark.parametrize(
    ("times", "row", "sizes"),
    [
        (["1700000000.00", "1700000000.01", "1700000000.025", "1700000000.03"], 4, ("0.015", "0.005")),
        (["0", "1", "2", "4"], 5, ("2", "1")),
        (["0", "1", "3"], 4, ("2", "1")),
        (["0.0", "0.1", "0.2", "0.4", "0.5"], 5, ("0.2", "0.1")),
        (["0", "10", "20", "40"], 5, ("20", "10")),
        (["0", "1e-300", "1e300"], 4, ("1e.300", "1e-300")),
        (["2024-01-01", "2024-01-02", "2024-01-04"], 4, ("2 days", "1 day")),
        (["2024-01-01T00:00:00.000", "2024-01-01T00:00:00.010", "2024-01-01T00:00:00.025"], 4, ("0.015 s", "0.01 s")),
        (["2024-01-01", "2024-02-01", "2024-03-01"], 3, ("31 days", "29 days")),
    ],
)
def test_a_gap_is_named_with_the_sizes_that_were_stored(
    tmp_path: Path, times: list[str], row: int, sizes: tuple[str, str]
) -> None:
    with pytest.raises(DataWrong, match=f"row {row}, column step: found a step of {sizes[0]}; expected steps of "):
        read(tmp_path, times)


@given(
    start=st.integers(0, 2_000_000_000),
    count=st.integers(4, 60),
    distance=st.floats(0.01, 100),
    decimals=st.integers(0, 6),
    gap=st.integers(1, 1_000),
)
def test_rounding_is_let_pass_where_it_is_fine_and_a_gap_never(
    tmp_path_factory: pytest.TempPathFactory, start: int, count: int, distance: float, decimals: int, gap: int
) -> None:
    unit = 10.0**-decimals
    if unit > distance / 2.5:
        return
    folder = tmp_path_factory.mktemp("steps")
    times = [f"{start + distance * n:.{decimals}f}" for n in range(count)]
    if unit < distance / 10:
        assert read(folder, times).info.length == count
    cut = 1 + gap % (count - 2)
    with pytest.raises(DataWrong, match="found a step of"):
        read(folder, [*times[:cut], *times[cut + 1 :]])


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["0", "1", "x"], "'x'"),
        (["0", "1", "1_0"], "'1_0'"),
        (["0", "1", "2,5"], "'2,5'"),
        (["0", "1", ""], "nothing"),
        (["", "1", "2"], "nothing"),
        (["0", "1", "NaN"], "'NaN'"),
        (["0", "1", "inf"], "'inf'"),
        (["2024-01-01", "2024-02-30", "2024-03-01"], "'2024-02-30'"),
        (["01.02.2024", "02.02.2024", "03.02.2024"], "'01.02.2024'"),
        (
            ["2024-01-01T01:00+02:00", "2024-01-01T02:00", "2024-01-01T03:00"],
            "'2024-01-01T02:00'; expected a time with",
        ),
        (["2024-01-01T01:00", "2024-01-01T02:00Z", "2024-01-01T03:00"], "'2024-01-01T02:00Z'; expected a time without"),
        (["0", "2", "1"], "'1'"),
        (["0", "1", "1"], "'1'"),
    ],
)
def test_a_step_that_is_no_time_or_out_of_order_is_refused(tmp_path: Path, cells: list[str], found: str) -> None:
    with pytest.raises(DataWrong, match=rf"column step: found {found}"):
        read(tmp_path, cells)

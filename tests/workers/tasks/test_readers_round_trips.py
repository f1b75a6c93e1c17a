"""Random series are written to every format and read back: equal arrays, lengths, labels and order of the classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from tests.workers.tasks import written_series as written
from tests.workers.tasks.written_series import (
    ODD,
    PLAIN,
    Case,
    assert_inputs,
    assert_labels,
    assert_read,
    cases,
)
from workers.tasks.ucr import Ucr

quick = settings(max_examples=40, deadline=None)
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le with a mark"]
LINE_ENDS = ["\n", "\r\n", "\r"]


def columns(count: int) -> st.SearchStrategy[list[str]]:
    """Names of columns that differ in more than blanks."""
    name = st.text(PLAIN, max_size=6) | st.text(ODD, max_size=6)
    meant = ("__index_level_", "Unnamed", "...", "#", "%")
    usable = name.filter(lambda text: written.is_a_name(text) and not text.startswith(meant))
    return st.lists(usable, min_size=count, max_size=count, unique_by=lambda s: "".join(s.split()))


def number(draw: st.DrawFn, value: float, missing: Sequence[str]) -> str:
    """Write a number in one of the notations of the written pattern."""
    if np.isnan(value):
        return draw(st.sampled_from(missing))
    whole = [str(int(value)), f"{int(value)}.", f" {int(value)}"] if value == int(value) and abs(value) < 1e15 else []
    return draw(st.sampled_from([repr(value), f"{value:.17e}", f"{value:+.17E}", f"{value!r} ", *whole]))


def csv_text(rows: Sequence[Sequence[str]], end: str, quoted: bool) -> str:
    """Write a csv file; cells stand in quotation marks if they need to, or all of them."""
    return "".join(",".join(quote(cell, quoted) for cell in row) + end for row in rows)


def quote(cell: str, quoted: bool) -> str:
    return '"' + cell.replace('"', '""') + '"' if quoted or any(sign in cell for sign in ',"\r\n') else cell


def encoded(text: str, encoding: str) -> bytes:
    return b"\xff\xfe" + text.encode("utf-16-le") if "mark" in encoding else text.encode(encoding)


def order_of_rows(draw: st.DrawFn, case: Case, with_steps: bool) -> list[tuple[int, int]]:
    """Return series and step of each row: series may alternate if there are steps, or step by step."""
    rows = [(i, t) for i, length in enumerate(case.lengths) for t in range(length)]
    if not with_steps:
        return sorted(rows, key=lambda row: row[1]) if draw(st.booleans()) else rows
    turns = draw(st.permutations([i for i, length in enumerate(case.lengths) for _ in range(length - 1)]))
    taken = [1] * len(case.lengths)
    rows = [(i, 0) for i in range(len(case.lengths))]
    for i in turns:
        rows.append((i, taken[i]))
        taken[i] += 1
    return rows


@quick
@given(cases(labels=written.label_sets(ODD)), st.data())
def test_a_long_csv(case: Case, data: st.DataObject) -> None:
    draw = data.draw
    names = draw(columns(case.features))
    header = [*names, "target", "series", *draw(st.sampled_from([[], ["step"]]))]
    ids = draw(st.lists(written.words(ODD) | st.integers(0, 99).map(str), min_size=6, max_size=6, unique=True))
    last_only = draw(st.booleans())
    rows = []
    for i, t in order_of_rows(draw, case, "step" in header):
        is_last = t == case.lengths[i] - 1
        cell = case.cells[i] if is_last or not last_only else draw(st.sampled_from(["", "NaN", "null"]))
        values = [number(draw, x, ["", "NaN", "NULL"]) for x in case.series[i][t].tolist()]
        rows.append([*values, cell, ids[i], *([str(t)] if "step" in header else [])])
    order = draw(st.permutations(range(len(header))))
    table = [[row[place] for place in order] for row in [header, *rows]]
    text = csv_text(table, draw(st.sampled_from(LINE_ENDS)), draw(st.booleans()))
    with written.folder() as where:
        (where / "a.csv").write_bytes(encoded(text, draw(st.sampled_from(ENCODINGS))))
        assert_read(where, "a.csv", case, inputs=names)


@quick
@given(cases(features=1), st.data())
def test_a_wide_csv(case: Case, data: st.DataObject) -> None:
    draw = data.draw
    steps = max(case.lengths)
    place = draw(st.integers(0, steps))
    names = draw(columns(steps))
    header = [*names[:place], "target", *names[place:]]
    rows = []
    for one, cell in zip(case.padded()[:, :, 0].tolist(), case.cells, strict=True):
        row = [number(draw, x, ["", "NaN"]) for x in one]
        row.insert(place, cell)
        rows.append(row)
    text = csv_text([header, *rows], draw(st.sampled_from(LINE_ENDS)), draw(st.booleans()))
    with written.folder() as where:
        (where / "a.csv").write_bytes(encoded(text, draw(st.sampled_from(ENCODINGS))))
        assert_read(where, "a.csv", case, inputs=names)


@quick
@given(cases(features=1), st.data())
def test_a_tsv_of_the_archive(case: Case, data: st.DataObject) -> None:
    draw = data.draw
    end = draw(st.sampled_from(LINE_ENDS))
    lines = [
        "\t".join([cell, *(number(draw, x, ["NaN", "nan"]) for x in one)]) + end
        for one, cell in zip(case.padded()[:, :, 0].tolist(), case.cells, strict=True)
    ]
    text = draw(st.sampled_from(["", end])) + "".join(lines)
    with written.folder() as where:
        (where / "ucr").mkdir()
        for part in ("TRAIN", "TEST"):
            content = encoded(text, draw(st.sampled_from(ENCODINGS)))
            (where / "ucr" / f"Mine_{part}.tsv").write_bytes(content)
        assert_archive(where, case)


def assert_archive(where: Path, case: Case) -> None:
    task = Ucr(dataset="Mine", width=1, missing="interpolate")
    known = task.with_info(where)
    found = known.held_out("test", where)
    assert_inputs(found, case)
    assert_labels(known.info.classes, found, case)


@quick
@given(
    cases(labels=written.label_sets(PLAIN.filter(lambda sign: sign not in ":?"))),
    st.data(),
)
def test_ts(case: Case, data: st.DataObject) -> None:
    draw = data.draw
    tags = {"problemName": "Mine", "timeStamps": "false", "classLabel": f"true {' '.join(case.classes)}"}
    maybe = {
        "missing": "true" if any(np.isnan(one).any() for one in case.series) else "false",
        "univariate": str(case.features == 1).lower(),
        "dimensions": str(case.features),
        "equalLength": str(len(set(case.lengths)) == 1),
    }
    if len(set(case.lengths)) == 1:
        maybe["seriesLength"] = str(case.lengths[0])
    tags |= {tag: value for tag, value in maybe.items() if draw(st.booleans())}
    style = draw(st.sampled_from([str, str.lower, str.upper]))
    end = draw(st.sampled_from(LINE_ENDS))
    head = [f"@{style(tag)} {value}" for tag, value in draw(st.permutations(list(tags.items())))] + [
        f"@{style('data')}"
    ]
    head.insert(0, draw(st.sampled_from(["# größer", "%", ""])))
    lines = [
        ":".join([*(",".join(number(draw, x, ["?", "NaN"]) for x in column) for column in one.T.tolist()), cell])
        for one, cell in zip(case.series, case.cells, strict=True)
    ]
    text = end.join([*head, *lines]) + draw(st.sampled_from(["", end]))
    with written.folder() as where:
        (where / "a.ts").write_bytes(encoded(text, draw(st.sampled_from(ENCODINGS))))
        assert_read(where, "a.ts", case)
        (where / "ucr").mkdir()
        for part in ("TRAIN", "TEST"):
            (where / "ucr" / f"Mine_{part}.ts").write_bytes((where / "a.ts").read_bytes())
        assert_archive(where, case)


def whole(low: int, high: int) -> Callable[[Any], Any]:
    return lambda column: np.clip(np.nan_to_num(column), low, high).round()


WAYS: dict[str, Callable[[Any], Any]] = {
    "float64": lambda column: column,
    "float32": lambda column: column.astype(np.float32).astype(np.float64),
    "float16": lambda column: np.clip(column, -6e4, 6e4).astype(np.float16).astype(np.float64),
    "int64": whole(-(2**24), 2**24),
    "int8": whole(-128, 127),
    "uint16": whole(0, 2**16 - 1),
    "bool": whole(0, 1),
    "Int64": whole(-(2**24), 2**24),
    "Float64": lambda column: column,
    "boolean": whole(0, 1),
    "decimal": lambda column: np.clip(column, -1e6, 1e6).round(3),
}
"""How parquet and numpy hold a feature, and what they make of it; those in capitals and ``boolean`` have gaps."""
GAPS = {"float64", "float32", "float16", "Int64", "Float64", "boolean", "decimal"}


@quick
@given(cases(), st.data())
def test_parquet(case: Case, data: st.DataObject) -> None:
    draw = data.draw
    names = draw(columns(case.features))
    kinds = [draw(st.sampled_from(sorted(WAYS))) for _ in names]
    case = case if set(kinds) <= GAPS else case.without_gaps()
    case = case.rounded(*(WAYS[kind] for kind in kinds))
    rows = order_of_rows(draw, case, with_steps=True)
    frame = pd.DataFrame({"series": [f"s{i}" for i, _ in rows], "step": [t * 0.5 for _, t in rows]})
    for place, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        frame[name] = column_of([case.series[i][t, place] for i, t in rows], kind)
    frame["target"] = label_column(draw, [case.names[i] for i, _ in rows])
    index = draw(st.sampled_from([[], ["series"], ["series", "step"], ["step", "series"]]))
    table = pa.Table.from_pandas(frame.set_index(index) if index else frame, preserve_index=bool(index) or None)
    with written.folder() as where:
        parquet.write_table(
            table,
            where / "a.parquet",
            row_group_size=draw(st.sampled_from([1, 2, 100])),
            compression=draw(st.sampled_from(["none", "snappy", "zstd", "gzip"])),
            use_dictionary=draw(st.booleans()),
            data_page_version=draw(st.sampled_from(["1.0", "2.0"])),
        )
        assert_read(where, "a.parquet", case, inputs=names)


def column_of(values: list[float], kind: str) -> Any:
    if kind == "decimal":
        from decimal import Decimal

        cells = [None if np.isnan(x) else Decimal(f"{x:.3f}") for x in values]
        return pd.Series(cells, dtype=pd.ArrowDtype(pa.decimal128(12, 3)))
    if kind in ("Int64", "Float64", "boolean"):
        return pd.array(
            [None if np.isnan(x) else {"boolean": bool, "Int64": int}.get(kind, float)(x) for x in values], kind
        )
    return np.array(values).astype(kind)


def label_column(draw: st.DrawFn, names: list[str]) -> Any:
    """Return labels in one of the types of a column that can hold them."""
    kinds: list[Any] = [lambda: names, lambda: pd.Categorical(names), lambda: [name.encode() for name in names]]
    if set(names) <= {"True", "False"}:
        kinds += [lambda: np.array([name == "True" for name in names])]
    if all(name.lstrip("-").isdecimal() for name in names):
        numbers = [*map(int, names)]
        if all(abs(i) < 2**63 for i in numbers):
            kinds += [lambda: np.array(numbers), lambda: pd.array(numbers, "Int64"), lambda: pd.Categorical(numbers)]
        if all(abs(i) < 2**53 for i in numbers):
            kinds += [lambda: np.array(numbers, float)]
        if all(abs(i) < 2**24 for i in numbers):
            kinds += [lambda: np.array(numbers, np.float32), lambda: np.array(numbers, np.int32)]
    return draw(st.sampled_from(kinds))()


@quick
@given(cases(gaps=False), st.data())
def test_npz(case: Case, data: st.DataObject) -> None:
    draw = data.draw
    kind = draw(st.sampled_from(["float64", "float32", "float16", "int64", "int8", "uint16", "bool"]))
    case = case.rounded(*([WAYS[kind]] * case.features))
    arrays: dict[str, npt.NDArray[Any]] = {}
    padded = case.padded()
    if not kind.startswith("float") or draw(st.booleans()):
        arrays["lengths"] = np.array(case.lengths, draw(st.sampled_from(["i8", "i4", "u2", ">i4"])))
        padded = case.padded(draw(st.sampled_from([0, 1])))
    arrays["inputs"] = padded.astype(
        np.dtype(kind).newbyteorder(draw(st.sampled_from("<>"))), draw(st.sampled_from("CF"))
    )
    if case.features == 1 and draw(st.booleans()):
        arrays["inputs"] = arrays["inputs"][:, :, 0]
    arrays["targets"] = label_array(draw, case.names)
    if draw(st.booleans()):
        arrays["targets"] = arrays["targets"][:, None]
    with written.folder() as where:
        draw(st.sampled_from([np.savez, np.savez_compressed]))(where / "a.npz", **arrays)
        assert_read(where, "a.npz", case)


def label_array(draw: st.DrawFn, names: list[str]) -> npt.NDArray[Any]:
    found: list[npt.NDArray[Any]] = [np.array(names), np.array([name.encode() for name in names])]
    if set(names) <= {"True", "False"}:
        found.append(np.array([name == "True" for name in names]))
    if all(name.lstrip("-").isdecimal() for name in names):
        numbers = [*map(int, names)]
        found += [np.array(numbers, kind) for kind in ("i8", ">i8") if all(abs(i) < 2**63 for i in numbers)]
        found += [np.array(numbers, "u8") for _ in [0] if all(0 <= i < 2**64 for i in numbers)]
        found += [np.array(numbers, "f8") for _ in [0] if all(abs(i) < 2**53 for i in numbers)]
        found += [np.array(numbers, "f4") for _ in [0] if all(abs(i) < 2**24 for i in numbers)]
    return draw(st.sampled_from(found))


@quick
@given(cases(), st.sampled_from(["csv", "parquet", "npz"]), st.integers(1, 2), st.data())
def test_numbers_to_predict_and_targets_of_every_step(
    case: Case, suffix: str, outputs: int, data: st.DataObject
) -> None:
    """Targets are numbers, one row for each step; some are missing. The same in all formats that have them."""
    draw = data.draw
    case = case.without_gaps()
    cells = st.floats(-1e3, 1e3, width=32) | st.just(float("nan"))
    targets = [np.array(draw(st.lists(cells, min_size=n * outputs, max_size=n * outputs))) for n in case.lengths]
    targets = [one.reshape(-1, outputs) for one in targets]
    targets[0][0], targets[1][0] = 1, 2  # so that each output has numbers that differ
    names = [f"y{place}" for place in range(outputs)]
    with written.folder() as where:
        if suffix == "npz":
            filled = np.full((len(targets), max(case.lengths), outputs), np.nan)
            for row, one in zip(filled, targets, strict=True):
                row[: len(one)] = one
            np.savez(where / "a.npz", inputs=case.padded(0), targets=filled, lengths=np.array(case.lengths))
        else:
            frame = pd.concat(
                pd.DataFrame(one).add_prefix("x").assign(series=f"s{i}", **dict(zip(names, target.T, strict=True)))
                for i, (one, target) in enumerate(zip(case.series, targets, strict=True))
            )
            if suffix == "csv":
                frame.to_csv(where / "a.csv", index=False)
            else:
                frame.to_parquet(where / "a.parquet", index=False)
        fields = {} if suffix == "npz" else {"targets": names}
        task, found = written.read(where, f"a.{suffix}", kind="regression", every_step=True, **fields)
    assert task.info.outputs == outputs
    assert_inputs(found, case)
    for one, target in zip(found.targets, targets, strict=True):
        np.testing.assert_array_equal(one[: len(target)], target.astype("f4"))
        assert np.isnan(one[len(target) :]).all()


@quick
@given(cases(), st.sampled_from(["csv", "parquet", "npz"]), st.data())
def test_a_label_of_every_step(case: Case, suffix: str, data: st.DataObject) -> None:
    draw = data.draw
    case = case.without_gaps()
    known = st.sampled_from(["", *case.classes])
    labels = [[case.names[i], *(draw(known) for _ in range(length - 1))] for i, length in enumerate(case.lengths)]
    with written.folder() as where:
        if suffix == "npz":
            filled = np.array([[*one, *[""] * (max(case.lengths) - len(one))] for one in labels])
            np.savez(where / "a.npz", inputs=case.padded(), targets=filled)
        else:
            frame = pd.concat(
                pd.DataFrame(one).add_prefix("x").assign(series=f"s{i}", target=labels[i])
                for i, one in enumerate(case.series)
            )
            frame["target"] = frame["target"].replace("", None)
            if suffix == "csv":
                frame.to_csv(where / "a.csv", index=False)
            else:
                frame.to_parquet(where / "a.parquet", index=False)
        task, found = written.read(where, f"a.{suffix}", every_step=True)
    assert_inputs(found, case)
    assert task.info.classes == case.classes
    for numbers, one in zip(found.targets.tolist(), labels, strict=True):
        assert numbers[: len(one)] == [-100 if label == "" else case.classes.index(label) for label in one]
        assert set(numbers[len(one) :]) <= {-100}

"""Wrong and hostile files: they are read, or refused in our own words; no traceback, no hang, no immense memory.

Each reader gets files from a grammar of its format and valid files with bytes changed. Here it gets a few hundred of
them; ``make fuzz SECONDS=600`` goes on for ten minutes with each reader.
"""

from __future__ import annotations

import io
import json
import os
import resource
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from workers.errors import DataMissing
from workers.tasks.dataset_info import DatasetTask
from workers.tasks.own_data import OwnData
from workers.tasks.task import Task
from workers.tasks.text import Text
from workers.tasks.ucr import Ucr

SECONDS = float(os.environ.get("SPECTRAL_FUZZ_SECONDS", "0"))
MOST_MEMORY = 2**30
"""Bytes by which all files together, each of some kilobytes, may raise the largest size of this process."""

pytestmark = pytest.mark.timeout(300 + 10 * SECONDS)

THEIRS = ("Arrow", "Parquet ", "thrift", "codec", "could not convert", "invalid literal", "tokeniz", "errno", "header")
"""Words of the libraries' own errors, which no message of ours has."""

Fields = dict[str, Any]
File = tuple[bytes, Fields]


def fuzz(files: st.SearchStrategy[File], task_of: Callable[[Path, bytes, Fields], Task], examples: int = 120) -> None:
    """Read files until the time is up, each from a new folder."""
    before = largest_size()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=not SECONDS,
        suppress_health_check=[*HealthCheck],
        print_blob=True,
    )
    @given(files)
    def read_all(file: File) -> None:
        content, fields = file
        with tempfile.TemporaryDirectory() as name:
            read(task_of(Path(name), content, fields), Path(name))
        assert largest_size() - before < MOST_MEMORY

    end = monotonic() + SECONDS
    read_all()
    while monotonic() < end:
        read_all()


def read(task: Task, folder: Path) -> None:
    """Read all sets of a task; a refusal has no words of a library's error."""
    try:
        known = task.with_info(folder) if isinstance(task, DatasetTask) else task
        sets = [known.training_data(folder), known.held_out("validation", folder), known.held_out("test", folder)]
    except DataMissing as error:
        refusal = str(error)
    else:
        for found in sets:
            assert found is not None
            assert np.isfinite(found.inputs).all()
            assert found.lengths is None or (found.lengths >= 1).all()
            assert len(found.targets) == len(found.inputs)
        return
    assert not [words for words in THEIRS if words in refusal]


def largest_size() -> int:
    """Return the largest size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def own(suffix: str) -> Callable[[Path, bytes, Fields], Task]:
    def task(folder: Path, content: bytes, fields: Fields) -> Task:
        (folder / f"a.{suffix}").write_bytes(content)
        return OwnData.model_validate({"name": "own_data", "file": f"a.{suffix}"} | fields)

    return task


@st.composite
def changed(draw: st.DrawFn, whole: st.SearchStrategy[bytes], parts: Sequence[bytes], near_end: int = 0) -> bytes:
    """Draw a valid file, with up to four changes; ``near_end`` bytes at its end are changed more often."""
    content = bytearray(draw(whole))
    part = st.sampled_from([*parts, b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"-1", b"9" * 30]) | st.binary(max_size=6)
    for _ in range(draw(st.integers(0, 4))):
        low = max(0, len(content) - near_end) if near_end and draw(st.booleans()) else 0
        start = draw(st.integers(low, len(content)))
        end = min(len(content), start + draw(st.integers(0, 8) | st.integers(0)))
        match draw(st.sampled_from(["set", "insert", "cut", "repeat", "end", "bit"])):
            case "set":
                new = draw(part)
                content[start : start + len(new)] = new
            case "insert":
                content[start:start] = draw(part)
            case "cut":
                del content[start:end]
            case "repeat":
                content[start:start] = content[start:end] * draw(st.integers(1, 3))
            case "end":
                del content[start:]
            case _ if start < len(content):
                content[start] ^= 1 << draw(st.integers(0, 7))
    return bytes(content)


def lines(parts: st.SearchStrategy[str], between: str, most: int = 8) -> st.SearchStrategy[bytes]:
    """Text of random cells."""
    rows = st.lists(st.lists(parts, max_size=6).map(between.join), max_size=most)
    ends = st.sampled_from(["\n", "\r\n", "\r"])
    encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"])
    return st.builds(lambda rows, end, code: end.join(rows).encode(code, "replace"), rows, ends, encodings)


NUMBERS = [
    "0",
    "1",
    "1.0",
    "-0",
    "1e400",
    "1e-400",
    "1e-300",
    "1e300",
    "1e5",
    "-100",
    "1_0",
    "1,5",
    "0x1",
    "+1",
    "1 000",
]
ODDITIES = [
    "1e",
    "e1",
    ".",
    "-",
    "1e99999999999",
    "9" * 25,
    "\uff11",
    "\u22121",
    "\x1a",
    "\0",
    " ",
    "",
    "'",
    '"',
    '""',
    '"a',
    "#",
]
WORDS = ["NaN", "null", "inf", "?", "a", "\u00e9", "True", "series", "step", "target", "x", "Unnamed: 0", "NA"]
TIMES = ["2024-01-01", "2024-01-01T00:00Z", "12:30", "0001-01-01", "9999-12-31T23:59:59.999999999"]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
CELLS = st.sampled_from([*NUMBERS, *ODDITIES, *WORDS, *TIMES]) | TEXTS

FIELDS: st.SearchStrategy[Fields] = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.just("regression"),
        "every_step": st.booleans(),
        "missing": st.just("interpolate"),
        "uneven": st.just(True),
        "normalize": st.just(True),
        "targets": st.sampled_from([["x"], ["target"], ["y"]]),
        "inputs": st.sampled_from([["x"], ["x", "y"], ["step"]]),
        "series": st.sampled_from(["series", "x", "step"]),
        "step": st.sampled_from(["step", "x"]),
    },
)

LONG = "series,step,x,y,target\n" + "".join(
    f"s{n},{t},{n + t}.5,{t},{'ab'[n % 2]}\n" for n in range(6) for t in range(3)
)
WIDE = "target,x,y,t2\n" + "".join(f"{n % 2},{n},{n}.25,{'' if n % 3 else n}\n" for n in range(6))
DATED = LONG.replace(",0,", ",2024-01-01T00:00:00,").replace(",1,", ",2024-01-01T00:00:01,")
HEADER = "@problemName M\n@timeStamps false\n@missing false\n@univariate false\n@dimensions 2\n@equalLength false\n"
TS = HEADER + "@classLabel true a b\n# note\n@data\n" + "".join(f"{n},2,{n}:1,2,3:{'ab'[n % 2]}\n" for n in range(6))
TSV = "".join(f"{n % 2}\t{n}\t1.5\t{'NaN' if n == 3 else n}\n" for n in range(8))


def with_fields(
    content: st.SearchStrategy[bytes], fields: st.SearchStrategy[Fields] = FIELDS
) -> st.SearchStrategy[File]:
    return st.tuples(content, fields)


def test_csv() -> None:
    valid = st.sampled_from([LONG.encode(), WIDE.encode(), DATED.encode(), LONG.encode("utf-16")])
    names = st.lists(CELLS | st.sampled_from(["series", "step", "x", "target"]), max_size=6).map(",".join)
    grammar = st.builds(lambda head, body: head.encode("utf-8", "replace") + b"\n" + body, names, lines(CELLS, ","))
    content = (
        changed(valid, [b",", b'"', b"\n", b"\r", b"NaN", b"series", b";", b"\xe9"]) | grammar | st.binary(max_size=60)
    )
    fuzz(with_fields(content), own("csv"))


def test_tsv() -> None:
    def task(folder: Path, content: bytes, fields: Fields) -> Task:
        (folder / "ucr").mkdir()
        (folder / "ucr" / "M_TRAIN.tsv").write_bytes(content)
        (folder / "ucr" / "M_TEST.tsv").write_bytes(TSV.encode() if fields.pop("other", False) else content)
        return Ucr.model_validate({"name": "ucr", "dataset": "M"} | fields)

    content = changed(st.just(TSV.encode()), [b"\t", b"\n", b"NaN", b"?", b"\xe9"]) | lines(CELLS, "\t")
    optional = {"missing": st.just("interpolate"), "normalize": st.just(True), "other": st.booleans()}
    fields = st.fixed_dictionaries({}, optional={**optional, "width": st.integers(1, 9)})
    fuzz(with_fields(content, fields), task)


def test_ts() -> None:
    tags = [
        "problemName",
        "timeStamps",
        "missing",
        "univariate",
        "dimensions",
        "dimension",
        "equalLength",
        "seriesLength",
    ]
    tag = st.sampled_from([*tags, "classLabel", "targetLabel", "data", "relation", ""])
    word = st.sampled_from(
        ["true", "false", "TRUE", "1", "2", "0", "-1", "a b", "true a b", "true 1 1.0", "true ?", "²", ""]
    )
    head = st.lists(st.builds(lambda tag, word: f"@{tag} {word}", tag, word), max_size=10).map("\n".join)
    rows = lines(CELLS | st.sampled_from(["1:", ":a", ":b", "(0,1)", "1,2"]), ",")
    grammar = st.builds(lambda head, rows: f"{head}\n@data\n".encode() + rows, head, rows)
    content = changed(st.just(TS.encode()), [b":", b",", b"?", b"@", b"\n", b"true", b"#\xe9", b"NaN"]) | grammar
    fuzz(with_fields(content), own("ts"))


def npz(compressed: bool, **arrays: Any) -> bytes:
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, **arrays)
    return stream.getvalue()


@st.composite
def npz_members(draw: st.DrawFn) -> bytes:
    """Draw an archive whose headers say what they like of what follows them."""
    kinds = [
        "<f8",
        ">f4",
        "|b1",
        "<i8",
        "<u8",
        "<U3",
        "|S2",
        "|O",
        "<c16",
        "<M8[s]",
        "|V8",
        "<f2",
        "<U0",
        "|S0",
        "<U99999999",
    ]
    size = st.sampled_from([0, 1, 2, 3, 6, -1, 10**6, 10**12, 2**63, 2**64, 10**30])
    stream = io.BytesIO()
    ways = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    with zipfile.ZipFile(stream, "w", draw(ways)) as archive:
        for name in draw(st.permutations(["inputs", "targets", *draw(st.sampled_from([[], ["lengths"]]))])):
            descr: Any = draw(st.sampled_from([*kinds, [("a", "<f8"), ("b", "|O")], "nonsense", 3]))
            shape = tuple(
                draw(st.lists(size, max_size=4)) if draw(st.booleans()) else draw(st.sampled_from([(6,), (6, 3)]))
            )
            entry = {"descr": descr, "fortran_order": draw(st.booleans()), "shape": shape}
            text = draw(
                st.sampled_from(
                    [repr(entry), repr(entry)[:-1], "[" * 5000, "{" + "'a':1," * 900 + "}", json.dumps(entry)]
                )
            )
            version, field = draw(st.sampled_from([(1, 2), (2, 4), (3, 4), (9, 4)]))
            head = b"\x93NUMPY" + bytes([version, 0]) + (len(text) + 1).to_bytes(field, "little") + f"{text}\n".encode()
            body = draw(st.binary(max_size=150) | st.integers(0, 40).map(lambda count: bytes(count * 8)))
            archive.writestr(draw(st.sampled_from([f"{name}.npy", f"{name}.npy", f"{name}.npy", name])), head + body)
    return stream.getvalue()


def test_npz() -> None:
    series = np.arange(36.0).reshape(6, 3, 2)
    arrays = [
        {"inputs": series, "targets": np.arange(6) % 2},
        {"inputs": series.astype(np.float32), "targets": np.array(list("ababab")), "lengths": np.array([3, 1, 2] * 2)},
        {"inputs": np.where(series > 33, np.nan, series), "targets": series[:, :, :1] % 2},
    ]
    valid = st.sampled_from([npz(compressed, **one) for one in arrays for compressed in (False, True)])
    parts = [
        b"PK\x01\x02",
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"(6, 3, 2)",
        b"'|O'",
        b"<f8",
        b"\xff\xff\xff\xff",
        b"targets",
    ]
    content = changed(valid, parts, near_end=250) | npz_members() | st.binary(max_size=40)
    fields = st.fixed_dictionaries({}, optional={name: st.just(value) for name, value in NPZ_FIELDS.items()})
    fuzz(with_fields(content, fields), own("npz"))


NPZ_FIELDS = {"kind": "regression", "every_step": True, "missing": "interpolate", "normalize": True}


def table(frame: pd.DataFrame, **options: Any) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(pa.Table.from_pandas(frame), stream, **options)
    return stream.getvalue()


@st.composite
def pandas_metadata(draw: st.DrawFn) -> bytes:
    """Draw a table whose pandas metadata says what it likes of the index."""
    entry = st.none() | st.integers(-3, 30) | st.sampled_from(["range", "series", "x", "", "__index_level_0__", 10**12])
    level = st.dictionaries(st.sampled_from(["kind", "name", "start", "stop", "step"]), entry) | entry
    told = draw(
        st.fixed_dictionaries({}, optional={"index_columns": st.lists(level, max_size=3) | level, "columns": entry})
    )
    text = draw(st.sampled_from([json.dumps(told), json.dumps(told)[:-1], "[" * 3000, "null", "3"]))
    stream = io.BytesIO()
    found = pa.Table.from_pandas(pd.read_csv(io.StringIO(draw(st.sampled_from([LONG, WIDE])))))
    parquet.write_table(found.replace_schema_metadata({b"pandas": text.encode()}), stream)
    return stream.getvalue()


def test_parquet() -> None:
    frame = pd.read_csv(io.StringIO(LONG))
    valid = [
        table(frame),
        table(frame.set_index(["series", "step"]), row_group_size=4, compression="none"),
        table(frame.astype({"target": "category", "x": "Float64"}), use_dictionary=False, compression="gzip"),
        table(pd.read_csv(io.StringIO(WIDE)), data_page_version="2.0", compression="zstd"),
    ]
    content = changed(st.sampled_from(valid), [b"PAR1", b"PARE", b"\xff\x7f", b"\x80\x01"], near_end=3000)
    fuzz(
        with_fields(content | pandas_metadata() | st.binary(max_size=40).map(lambda b: b"PAR1" + b + b"PAR1")),
        own("parquet"),
    )


def test_text() -> None:
    def task(folder: Path, content: bytes, fields: Fields) -> Task:
        (folder / "a.txt").write_bytes(content)
        return Text.model_validate({"name": "text", "file": "a.txt"} | fields)

    words = st.lists(CELLS, max_size=40).map(" ".join).map(lambda text: text.encode("utf-8", "replace"))
    content = changed(st.just(b"a few words, and more. " * 20), [b"\n", b"\xe9", b"\xf0\x9f"]) | words
    fields = st.fixed_dictionaries({}, optional={"level": st.just("word"), "length": st.integers(1, 9)})
    fuzz(with_fields(content, fields), task)

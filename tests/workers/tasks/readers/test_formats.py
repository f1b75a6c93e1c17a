"""What the formats of the archive and of numpy say of themselves: headers of ts, marks, NaN as padding, archives."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workers.tasks.own_data import OwnData
from workers.tasks.readers.errors import DataWrong
from workers.tasks.readers.npz import read_npz
from workers.tasks.ucr import Ucr

HEAD = "@problemName Mine\n@timeStamps false\n@univariate true\n"
LABELLED = "1,2,3:a\n4,5,6:b\n"


def ts(folder: Path, text: str | bytes, **fields: Any) -> OwnData:
    (folder / "data.ts").write_bytes(text.encode() if isinstance(text, str) else text)
    return OwnData.model_validate({"file": "data.ts"} | fields).with_info(folder)


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        ("@targetlabel true", "1,2:0.5\n3,4:1.5\n", 'labels of classes; or set the field kind to "regression"'),
        ("@TARGETLABEL TRUE", "1,2:1\n3,4:2\n", 'labels of classes; or set the field kind to "regression"'),
        ("@targetlabel true\n@classLabel true a b", LABELLED, "false beside @classLabel true"),
        ("@classLabel false", "1,2,3\n4,5,6\n", "at least two classes"),
        ("@missing false\n@classLabel true a b", "1,?,3:a\n4,5,6:b\n", "since the header says @missing false"),
        ("@missing false\n@classLabel true a b", "1,NaN,3:a\n4,5,6:b\n", "since the header says @missing false"),
        ("@equalLength true\n@classLabel true a b", "1,2,3:a\n4,5:b\n", "since the header says that all series have"),
        ("@seriesLength 4\n@classLabel true a b", LABELLED, "4 values, since the header says"),
        ("@dimensions 2\n@classLabel true a b", LABELLED, "false, as the file has 2 dimensions"),
        ("@classLabel true a b", "1,2,3:a\n4,5,6:c\n", "one of a, b"),
        ("@classLabel true a b", "1,2,3:a\n4,5,6:?\n5,6,7:b\n", "one of a, b"),
        ("@classLabel true 1 1.0 2", "1,2:1\n3,4:1\n", "at least two classes"),
        ("@equalLength perhaps\n@classLabel true a b", LABELLED, "true or false"),
        ("@classLabel true a b\n@classLabel true b a", LABELLED, "or this tag once"),
        ("@classLabel true a b # classes", LABELLED, "no comment behind a tag"),
        ("@dimensions two\n@classLabel true a b", LABELLED, "a whole number of at least 1"),
        ("@dimensions \u0662", LABELLED, "a whole number of at least 1"),
        ("@classLabel true a b", "1,1_000:a\n3,4:b\n", "a number without separators"),
        ("@classLabel true a b", "1,0x2:a\n3,4:b\n", "a number, or ? where it is missing"),
    ],
)
def test_a_file_that_contradicts_itself_or_the_task_is_refused(
    tmp_path: Path, header: str, rows: str, words: str
) -> None:
    for missing in ("refuse", "interpolate"):
        with pytest.raises(DataWrong) as caught:
            ts(tmp_path, f"{HEAD}{header}\n@data\n{rows}", missing=missing)
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("header", "rows", "fields"),
    [
        ("@missing true\n@equalLength false\n@classLabel true a b", LABELLED, {}),
        ("@equalLength false\n@seriesLength 3\n@classLabel true a b", "1,2,3:a\n4,5:b\n", {}),
        ("@targetlabel true", "1,2:0.5\n3,4:1.5\n", {"kind": "regression"}),
        ("@classLabel true 0.5 1.5", "1,2:0.5\n3,4:1.5\n", {"kind": "regression"}),
        ("@classLabel true 1.0 2.0", "1,2:1\n3,4:2\n", {}),
        ("@CLASSLABEL True a b", "% \n# x\n1,2:a\n3,4:b\n", {}),
        ("@classLabel true a b", "1,2,?:a\nnan,4,5:b\n", {"missing": "interpolate"}),
        ("@classLabel true left hand right", "1,2:left hand\n3,4:right\n", {}),
        ("@problemName Again\n@classLabel true a b", LABELLED, {}),
    ],
)
def test_what_other_programs_write_is_read(tmp_path: Path, header: str, rows: str, fields: dict[str, Any]) -> None:
    assert ts(tmp_path, f"{HEAD}{header}\n@data\n{rows}", **fields).info.features == 1


def test_labels_that_differ_in_a_letter_of_another_encoding_stay_apart(tmp_path: Path) -> None:
    text = f"{HEAD}@classLabel true größe große\n@data\n1,2:größe\n3,4:große\n"
    for data in (text.encode(), text.encode("utf-8-sig"), text.encode("utf-16")):
        assert ts(tmp_path, data).info.classes == ["große", "größe"]
    with pytest.raises(DataWrong, match=r"line 4, column 20: found the bytes F6 \(hexadecimal\); expected text in UTF"):
        ts(tmp_path, text.encode("latin-1"))
    assert ts(tmp_path, b"# recorded 2001\x962002\n" + text.encode()).info.classes == ["große", "größe"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_set_saved_by_an_editor_has_the_same_classes(tmp_path: Path, encoding: str, end: str) -> None:
    folder = tmp_path / "ucr"
    folder.mkdir()
    lines = [f"{1 + n % 2}\t{n}\t{n + 1}" for n in range(8)]
    for part in ("TRAIN", "TEST"):
        (folder / f"Marked_{part}.tsv").write_bytes((end.join(lines) + end).encode(encoding))
    task = Ucr(dataset="Marked").with_info(tmp_path)
    assert (task.info.classes, task.info.length) == (["1", "2"], 2)


@pytest.mark.parametrize(("first", "words"), [("\u0661", "UTF"), ("1_1", "without separators"), ("1,5", "not a comma")])
def test_a_number_in_another_notation_is_refused_in_tsv(tmp_path: Path, first: str, words: str) -> None:
    (tmp_path / "ucr").mkdir()
    for part in ("TRAIN", "TEST"):
        text = f"1\t{first}\t2\n2\t1\t2\n" * 4
        (tmp_path / "ucr" / f"Mine_{part}.tsv").write_bytes(text.encode("utf-8" if words != "UTF" else "utf-16-le"))
    with pytest.raises(DataWrong, match=words):
        Ucr(dataset="Mine").with_info(tmp_path)


def test_nan_at_the_end_of_a_series_of_an_array_is_no_step(tmp_path: Path) -> None:
    inputs = np.arange(24.0).reshape(4, 3, 2)
    inputs[1, 2:] = np.nan
    inputs[2, 1:] = np.nan
    np.savez(tmp_path / "data.npz", inputs=inputs, targets=[0, 1, 0, 1])
    found = read_npz(tmp_path / "data.npz", "data.npz", every_step=False)
    assert [len(one) for one in found.values] == [3, 2, 1, 3]
    inputs[3, 2, 0] = np.nan
    np.savez(tmp_path / "data.npz", inputs=inputs, targets=[0, 1, 0, 1])
    with pytest.raises(DataWrong, match=r"inputs\[3, 2, 0\]: found no value"):
        OwnData(file="data.npz").with_info(tmp_path)
    np.savez(tmp_path / "data.npz", inputs=inputs, targets=[0, 1, 0, 1], lengths=[3, 3, 1, 2])
    with pytest.raises(DataWrong, match=r"inputs\[1, 2, 0\]: found no value"):
        OwnData(file="data.npz").with_info(tmp_path)


def test_a_target_after_the_end_of_its_series_is_refused(tmp_path: Path) -> None:
    inputs = np.array([[1.0, 2, np.nan], [1, 2, 3]])
    for targets in ([[0, 1, -100], [0, 1, 1]], [["a", "b", ""], ["a", "b", "b"]], [[0.0, 1, np.nan], [0, 1, 1]]):
        np.savez(tmp_path / "data.npz", inputs=inputs, targets=targets)
        assert OwnData(file="data.npz", every_step=True).with_info(tmp_path).info.length == 3
    for wrong in ([[0, 1, 1], [0, 1, 1]], [["a", "b", "b"], ["a", "b", "b"]]):
        np.savez(tmp_path / "data.npz", inputs=inputs, targets=wrong)
        with pytest.raises(DataWrong, match=r"targets\[0, 2\]: found .* expected no target"):
            OwnData(file="data.npz", every_step=True).with_info(tmp_path)


def member(shape: tuple[Any, ...], numbers: int = 4) -> bytes:
    """The bytes of an array of this many zeros, whose header claims a shape."""
    written = BytesIO()
    np.lib.format.write_array_header_1_0(written, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return written.getvalue() + bytes(8 * numbers)


@pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6), (0,), (-4,), (3,), (5,), (2**63, 2**63)])
def test_an_array_that_claims_another_size_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("inputs.npy", member(shape))
        archive.writestr("targets.npy", member((4,)))
    with pytest.raises(DataWrong, match=r"data\.npz, the file: found an array of another kind, or a damaged archive"):
        OwnData(file="data.npz").with_info(tmp_path)


def test_a_bomb_of_another_compression_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("inputs.npy", member((4,)))
        archive.writestr("targets.npy", member((4,)))
    with pytest.raises(DataWrong, match="a damaged archive"):
        OwnData(file="data.npz").with_info(tmp_path)


def test_a_small_file_of_an_immense_array_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "data.npz", inputs=np.zeros((4, 10**7), np.int8), targets=[0, 1, 0, 1])
    with pytest.raises(DataWrong, match=r"inputs: found shape .* GiB; expected at most 200 bytes for each"):
        OwnData(file="data.npz").with_info(tmp_path)

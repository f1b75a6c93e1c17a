"""IDX files: what was written is read, and what a file has wrong is refused in plain words."""

from __future__ import annotations

import gzip
import io
import math
import resource
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.workers.examples import sweep_document
from tests.workers.tasks.image_files import CODES, NAMES, SQUARES, idx, images_of, packed_idx, put
from workers.errors import SpecError
from workers.spec.parse import parse_sweep
from workers.tasks.idx_files import MAX_BYTES, TYPES, read_idx
from workers.tasks.readers.errors import DataWrong


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (NAMES[0], b"", "the file: found an empty file; expected an IDX file"),
        (NAMES[0], b"\x00\x00", "found the first bytes 00 00"),
        (NAMES[0], b"PK\x03\x04 and more", r"found the first bytes 50 4B 03 04 \(hexadecimal\)"),
        (NAMES[0], b"\x00\x00\x07\x01\x00\x00\x00\x01\x00", "found the first bytes 00 00 07 01"),
        (NAMES[0], b"\x00\x00\x08\x00\x01", "found the first bytes 00 00 08 00"),
        (NAMES[0], b"\x00\x00\x08\x03\x00\x00", "its header: found the end of the file; expected the sizes of 3 dim"),
        (NAMES[0], idx(SQUARES, (41, 5, 4)), "found 41 x 5 x 4 numbers, 820 bytes; expected the 800 bytes"),
        (NAMES[0], idx(SQUARES, (39, 5, 4)), "found 39 x 5 x 4 numbers, 780 bytes; expected the 800 bytes"),
        (NAMES[0], idx(SQUARES, (2**32 - 1,) * 3), "79,228,162,458,924,105,385,300,197,375 bytes; expected at most"),
        (NAMES[0], idx(SQUARES, (40, 20)), r"an array of uint8 of shape \(40, 20\); expected images of one byte per"),
        (NAMES[0], idx(np.zeros((40, 5, 4), np.float32)), r"an array of float32 of shape \(40, 5, 4\)"),
        (NAMES[0], idx(np.zeros((0, 5, 4), np.uint8)), r"an array of uint8 of shape \(0, 5, 4\)"),
        (NAMES[0], idx(np.zeros((40, 5, 4, 3), np.uint8)), r"shape \(40, 5, 4, 3\); expected images of one byte"),
        (NAMES[1], idx(np.zeros(39, np.uint8)), "found 39 labels; expected 40, one for each image"),
        (NAMES[1], idx(np.zeros(40, np.float64)), "an array of float64 of shape"),
        (NAMES[1], idx(np.full(40, 7, np.uint8)), "found the single class 7; expected at least two classes"),
        (NAMES[2], idx(np.zeros((12, 4, 4), np.uint8)), "found images of 4 x 4 pixels; expected 5 x 4 pixels"),
        (NAMES[3], idx(np.full(12, 9, np.uint8)), "its labels: found '9'; expected one of the 3 classes"),
        (NAMES[0], packed_idx(SQUARES)[:20], "found a damaged gzip archive"),
        (NAMES[0], packed_idx(SQUARES)[:-1], "found a damaged gzip archive"),
        (NAMES[0], b"\x1f\x8bnonsense", "found a damaged gzip archive"),
        (NAMES[0], packed_idx(SQUARES, (41, 5, 4)), "41 x 5 x 4 numbers, 820 bytes, but 800 bytes follow"),
        (NAMES[0], packed_idx(SQUARES, (39, 5, 4)), "39 x 5 x 4 numbers, 780 bytes, but more bytes follow"),
        (NAMES[0], packed_idx(SQUARES, (2**20, 28, 28)), "which an archive of .* bytes cannot hold"),
    ],
)  # fmt: skip
def test_what_a_file_has_wrong_is_named_at_submit(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    put(tmp_path / "mine")
    (tmp_path / "mine" / name).write_bytes(content)
    with pytest.raises(DataWrong, match=rf"^mine/{name}, .*{message}"):
        images_of(tmp_path)
    with pytest.raises(SpecError) as refused:
        parse_sweep(sweep_document(task={"name": "images", "dataset": "mine"}), tmp_path)
    assert refused.value.errors[0].field == "task.dataset"


def test_an_archive_of_another_kind_is_no_idx_file(tmp_path: Path) -> None:
    put(tmp_path / "mine")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("train-images-idx3-ubyte", idx(SQUARES))
    (tmp_path / "mine" / NAMES[0]).write_bytes(packed.getvalue())
    with pytest.raises(DataWrong, match="expected an IDX file"):
        images_of(tmp_path)


def test_an_archive_that_unpacks_to_far_more_takes_no_memory(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.gz"
    with gzip.open(bomb, "wb") as stream:
        stream.write(idx(SQUARES))
        for _ in range(300):
            stream.write(bytes(2**20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataWrong, match="but more bytes follow"):
        read_idx(bomb, "bomb.gz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    assert MAX_BYTES < 2**33


@settings(max_examples=60, deadline=None)
@given(
    array=st.sampled_from(list(CODES)).flatmap(
        lambda kind: arrays.arrays(
            kind,
            arrays.array_shapes(max_dims=4, max_side=6),
            elements={"allow_nan": False} if kind.kind == "f" else None,
        )
    ),
    packed=st.booleans(),
)
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, packed: bool) -> None:
    path = tmp_path_factory.mktemp("idx") / "array"
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    found = read_idx(path, "array")
    assert found.dtype == array.dtype.newbyteorder(">") or found.dtype.itemsize == 1
    np.testing.assert_array_equal(found, array)


def body_of(data: bytes) -> bytes | None:
    """The numbers in a file whose header fits them, by the description of the format; None for any other bytes."""
    count = data[3] if len(data) > 3 and data[:2] == b"\0\0" and data[2] in TYPES else 0
    if not count or len(data) < 4 + 4 * count:
        return None
    sizes = struct.unpack_from(f">{count}I", data, 4)
    body = data[4 + 4 * count :]
    return body if math.prod(sizes) * np.dtype(TYPES[data[2]]).itemsize == len(body) else None


def vector(body: bytes) -> bytes:
    return idx(np.frombuffer(body, np.uint8))


@settings(max_examples=300, deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=60),
        st.binary(max_size=40).map(lambda rest: b"\0\0\x08\x01\0\0\0" + rest),
        st.binary(max_size=40).map(vector),
        st.tuples(st.binary(max_size=9).map(vector), st.integers(0, 8), st.binary(min_size=1, max_size=2)).map(
            lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] + 1 :]
        ),
    ),
    packed=st.booleans(),
)
@example(data=vector(b"ab"), packed=False)
@example(data=vector(b"ab") + b"c", packed=True)
def test_any_bytes_are_read_if_they_are_an_idx_file_and_else_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, packed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(gzip.compress(data, mtime=0) if packed else data)
    body = body_of(data)
    if body is None:
        with pytest.raises(DataWrong, match=r"^any, "):
            read_idx(path, "any")
    else:
        assert read_idx(path, "any").tobytes() == body


@pytest.mark.parametrize("shape", [(1,) * 65, (1,) * 255, (0, *(2**32 - 1,) * 3), (2**32 - 1, 0, 2**32 - 1)])
def test_dimensions_that_no_array_can_have_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    (tmp_path / "any").write_bytes(idx(np.zeros(0 if 0 in shape else 1, np.uint8), shape))
    with pytest.raises(DataWrong, match="any, its header: found "):
        read_idx(tmp_path / "any", "any")

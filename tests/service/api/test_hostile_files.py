"""Files of data that are damaged or made to cost much: each is refused by its name, and none is a mistake of ours."""

from __future__ import annotations

import io
import os
import resource
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.api import data_reading
from service.settings import ApiSettings
from tests.service.conftest import serving
from workers.spec import resolve_data
from workers.tasks.own_data import OwnData

MOST_MEMORY = 2**29
"""Bytes by which one file, of at most some megabytes, may raise the largest size of this process."""


def array(shape: tuple[int, ...] = (20, 5)) -> bytes:
    written = io.BytesIO()
    np.save(written, np.zeros(shape))
    return written.getvalue()


def archive(path: Path, inputs: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as written:
        written.writestr("inputs.npy", inputs)
        written.writestr("targets.npy", array((20,)))


def encrypted(path: Path) -> None:
    """Write an archive whose members say that they are encrypted."""
    archive(path, array())
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = content.find(mark)
        while at >= 0:
            content[at + place] |= 1
            at = content.find(mark, at + 4)
    path.write_bytes(bytes(content))


def promising(path: Path) -> None:
    """Write an archive with a header that promises 10^12 values."""
    written = io.BytesIO()
    header = {"shape": (10**12,), "fortran_order": False, "descr": "<f8"}
    np.lib.format.write_array_header_1_0(written, header)
    archive(path, written.getvalue() + b"0" * 80)


def zeros(path: Path) -> None:
    """Write a small archive of zeros that would fill a gigabyte."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as written:
        for name, shape in (("inputs", (1_300, 100_000)), ("targets", (1_300,))):
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, {"shape": shape, "fortran_order": False, "descr": "<f8"})
            with written.open(f"{name}.npy", "w") as member:
                member.write(header.getvalue())
                for _ in range(8 * int(np.prod(shape)) // 100_000 or 1):
                    member.write(bytes(min(100_000, 8 * int(np.prod(shape)))))


def wide(path: Path) -> None:
    names = ",".join(f"c{number}" for number in range(10**6))
    path.write_text(f"target,{names}\n" + ("0," + "1," * (10**6 - 1) + "1\n") * 2)


FILES: dict[str, Callable[[Path], None]] = {
    "encrypted.npz": encrypted,
    "bz2.npz": lambda path: archive(path, array(), zipfile.ZIP_BZIP2),
    "lzma.npz": lambda path: archive(path, array(), zipfile.ZIP_LZMA),
    "text.npz": lambda path: archive(path, b"hello"),
    "promise.npz": promising,
    "zeros.npz": zeros,
    "loop.npz": lambda path: path.symlink_to(path.name),
    "loop.csv": lambda path: path.symlink_to(path.name),
    "wide.csv": wide,
    "random.ts": lambda path: path.write_bytes(os.urandom(1_000)),
}


@pytest.fixture
def with_data(url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    settings = ApiSettings(database_url=url, data_dir=tmp_path)
    with serving(settings) as address, httpx.Client(base_url=address, timeout=120) as client:
        yield client


def document(name: str) -> dict[str, Any]:
    return {"task": {"name": "own_data", "file": name}, "space": {"model.margin": [0.01]}}


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_refused_by_its_name(with_data: httpx.Client, tmp_path: Path, name: str) -> None:
    FILES[name](tmp_path / name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for call in ("/v1/sweeps", "/v1/sweeps/validate"):
        answer = with_data.post(call, json=document(name))
        assert answer.status_code == 422, answer.text
        (error,) = answer.json()["errors"]
        assert error["field"] == "task.file"
        assert name in error["problem"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before < MOST_MEMORY


def test_a_reader_that_stumbles_is_the_file_s_fault_and_is_logged(
    with_data: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(*_: object) -> None:
        raise AttributeError("an inner matter")

    monkeypatch.setattr(OwnData, "read_info", stumble)
    answer = with_data.post("/v1/sweeps/validate", json=document("a.csv"))
    assert answer.status_code == 422
    assert "inner matter" not in answer.text
    assert [record.name for record in caplog.records if record.exc_info] == [resolve_data.__name__]


def test_one_request_at_a_time_reads_files_and_others_go_on(
    with_data: httpx.Client, document_of_adding: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_reading, "WAIT_SECONDS", 0.05)
    reading, go_on = threading.Event(), threading.Event()

    def read_long(*_: object) -> None:
        reading.set()
        go_on.wait(60)
        raise ValueError

    monkeypatch.setattr(OwnData, "read_info", read_long)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(with_data.post, "/v1/sweeps/validate", json=document("a.csv"))
        assert reading.wait(60)
        second = with_data.post("/v1/sweeps/validate", json=document("b.csv"))
        assert second.status_code == 503
        assert int(second.headers["retry-after"]) >= 1
        assert with_data.post("/v1/sweeps/validate", json=document_of_adding).status_code == 200
        go_on.set()
        assert first.result().status_code == 422
    assert with_data.post("/v1/sweeps/validate", json=document("b.csv")).status_code == 422


@pytest.fixture
def document_of_adding() -> dict[str, Any]:
    return {"task": {"name": "adding", "length": 20}, "space": {"model.margin": [0.01]}}

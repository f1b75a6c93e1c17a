"""What is said when MNIST cannot be fetched: why, in our own words, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pooch
import pytest
import requests

from workers.errors import DataMissing
from workers.tasks.mnist import Mnist

PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy")


def message(folder: Path) -> str:
    with pytest.raises(DataMissing) as refused:
        Mnist().training_data(folder)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__
    text = str(refused.value)
    assert "set SPECTRAL_DATA_DIR to the folder that contains mnist/" in text
    return text


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "nonsense://127.0.0.1:9"])
def test_a_proxy_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert "the proxy that HTTPS_PROXY or ALL_PROXY names cannot be used" in message(tmp_path)


def answer(status: int) -> requests.Response:
    found = requests.Response()
    found.status_code = status
    return found


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support."), "needs the package PySocks"),
        (requests.exceptions.HTTPError("a library's words", response=answer(403)), "answered with status 403"),
        (requests.exceptions.SSLError("a library's words"), "the certificate of the server could not be verified"),
        (requests.exceptions.ConnectionError("a library's words"), "the server could not be reached"),
        (requests.exceptions.ChunkedEncodingError("a library's words"), "or the transfer broke off"),
        (PermissionError("a library's words"), "the folder cannot be written"),
        (ValueError("a library's words"), "what came is not the published file"),
    ],
)
def test_the_reason_is_told_in_words_of_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(pooch, "retrieve", fail)
    text = message(tmp_path)
    assert reason in text
    assert str(error) not in text

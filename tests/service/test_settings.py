"""Wrong values of the service's settings, in the words in which its processes refuse to start."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from service.settings import ControllerSettings, wrong_settings


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ray_address", "head", "'head' has characters that are not allowed; allowed: auto, or the host and port"),
        ("ray_address", "head:", "allowed: auto, or the host and port of Ray's head, such as 10.0.0.1:6379"),
        ("database_url", "foo", "'foo' has characters that are not allowed; allowed: sqlite:///PATH or postgresql+psy"),
        ("database_url", "mysql://me:secret@x/y", "'mysql://x/y' has characters that are not allowed"),
        ("tick_seconds", "0", "'0' is not above 0; allowed: above 0"),
        ("tick_seconds", "soon", "'soon' is not a number; allowed: a number"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"SPECTRAL_{name.upper()}", value)
    with pytest.raises(ValidationError) as caught:
        ControllerSettings()
    assert wrong_settings(caught.value).startswith(f"SPECTRAL_{name.upper()}: ")
    assert words in wrong_settings(caught.value)


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:6379", "[::1]:6379", "ray-head.example:10001"])
def test_addresses_of_ray_are_auto_or_a_host_with_a_port(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("SPECTRAL_RAY_ADDRESS", address)
    assert ControllerSettings().ray_address == address

"""The file of webhooks: what is refused, with its reason, before the controller starts."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from service.webhooks.message import headers_of
from service.webhooks.targets import WrongWebhooks, read_targets, secrets_of
from tests.service.webhooks.receiver import SECRET, verified

ALL_THE_SAME = "whsec_" + base64.b64encode(b"a" * 32).decode()
HOOK: dict[str, Any] = {"name": "chat", "url": "https://hooks.example.org/a?b=c", "secret_file": "chat.secret"}


def write(folder: Path, *hooks: dict[str, Any], secret: str = SECRET, secret_mode: int = 0o600) -> Path:
    (folder / "chat.secret").write_text(secret)
    (folder / "chat.secret").chmod(secret_mode)
    file = folder / "webhooks.json"
    file.write_text(json.dumps({"webhooks": hooks}))
    file.chmod(0o644)
    return file


def test_a_file_with_its_defaults(tmp_path: Path) -> None:
    (target,) = read_targets(write(tmp_path, HOOK))
    assert target.events == ("sweep.ended", "trial.ended")
    assert not target.private
    assert secrets_of(target) == [bytes(range(32))]


def test_two_secrets_both_sign(tmp_path: Path) -> None:
    other = "whsec_" + base64.b64encode(bytes(range(100, 132))).decode()
    (target,) = read_targets(write(tmp_path, HOOK, secret=f"{other}\n{SECRET}\n"))
    headers = headers_of("msg_1", b"{}", secrets_of(target), 1_700_000_000.9)
    assert headers["webhook-timestamp"] == "1700000000"
    assert verified(SECRET, headers, b"{}")
    assert verified(other, headers, b"{}")
    assert not verified(other, headers, b"{} ")
    assert not verified(other, headers | {"webhook-timestamp": "1700000001"}, b"{}")
    assert not verified(other, headers | {"webhook-id": "msg_2"}, b"{}")


def test_the_signature_is_that_of_the_standards_own_example() -> None:
    """The vector of the specification's reference libraries."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = headers_of("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', [secret], 1614265330)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "http://hooks.example.org"}, "use https://"),
        ({"url": "ftp://hooks.example.org"}, "is no address like https://"),
        ({"url": "https://me:secret@hooks.example.org"}, "without a password"),
        ({"url": "https://"}, "is no address"),
        ({"url": "file:///etc/passwd"}, "is no address"),
        ({"name": "Chat Room"}, "webhooks.0.name"),
        ({"events": ["sweep.started"]}, "webhooks.0.events"),
        ({"events": []}, "webhooks.0.events"),
        ({"secret_file": "missing"}, "cannot be read"),
        ({"allow": "all"}, "webhooks.0.allow"),
    ],
)
def test_a_wrong_webhook_is_refused_with_its_reason(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(WrongWebhooks, match=words):
        read_targets(write(tmp_path, HOOK | changes))


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongWebhooks, match="same name"):
        read_targets(write(tmp_path, HOOK, HOOK))


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "change-me",
        "whsec_",
        "whsec_c2hvcnQ=",
        "whsec_" + base64.b64encode(b"a" * 32).decode(),
        SECRET[6:],
        f"{SECRET}\nx",
    ],
)
def test_a_secret_that_is_none_is_refused(tmp_path: Path, secret: str) -> None:
    with pytest.raises(WrongWebhooks, match=r"the secret of webhook chat must be whsec_.*openssl rand"):
        read_targets(write(tmp_path, HOOK, secret=secret))


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongWebhooks, match="other users may read this file; run: chmod 600"):
        read_targets(write(tmp_path, HOOK, secret_mode=0o640))


def test_a_file_that_others_can_write_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, HOOK)
    file.chmod(0o664)
    with pytest.raises(WrongWebhooks, match="other users may write this file"):
        read_targets(file)


def test_the_controller_does_not_start_with_a_wrong_file(tmp_path: Path) -> None:
    file = write(tmp_path, HOOK | {"url": "http://169.254.169.254/latest"})
    environment = dict(os.environ) | {"SPECTRAL_WEBHOOKS_FILE": str(file)}
    environment |= {"SPECTRAL_DATABASE_URL": f"sqlite:///{tmp_path / 'none.db'}"}
    command = [sys.executable, "-W", "ignore", "-m", "service.controller"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"SPECTRAL_WEBHOOKS_FILE: {file}: ")
    assert "use https://" in done.stderr


def test_the_snippet_of_the_documentation_verifies_what_is_sent() -> None:
    text = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text()
    names: dict[str, Any] = {}
    exec(text.partition("```python\n")[2].partition("```")[0], names)
    verifies, key = names["is_from_the_service"], bytes(range(32))
    headers = headers_of("msg_1", b"{}", [key], time.time())
    assert verifies(SECRET, headers, b"{}")
    assert not verifies(SECRET, headers, b"{ }")
    assert not verifies(SECRET, headers_of("msg_1", b"{}", [key], time.time() - 301), b"{}")

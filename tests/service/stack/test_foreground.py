"""What ``spectral up`` prints once the stack is up, and the page that it opens."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest

from service.stack import Stack, foreground, ports


class NothingStarted(Stack):
    """A stack whose processes are not started, and that a user ends as soon as it is up."""

    def start(self) -> None:
        pass

    def wait(self) -> None:
        pass

    def stop(self) -> None:
        pass


@pytest.mark.parametrize("has_browser", [True, False])
def test_the_addresses_are_printed_and_the_page_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], has_browser: bool
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(foreground, "Stack", NothingStarted)
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or has_browser)
    port, mlflow_port = ports.free(2)
    assert foreground.up(tmp_path, port, mlflow_port, show_page=True) == 0
    here, mlflow = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{mlflow_port}"
    printed = capsys.readouterr().out
    found = {name.strip(): address for name, _, address in (line.partition("http") for line in printed.splitlines())}
    assert f"http{found['Web page']}" == here
    assert f"http{found['Manual']}" == f"{here}/manual/"
    assert f"http{found['MLflow']}" == f"{mlflow}/#/experiments?workflowType=machine_learning"
    assert opened == [here]
    assert ("No browser was found" in printed) is not has_browser


def test_no_page_is_opened_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreground, "Stack", NothingStarted)
    monkeypatch.setattr(webbrowser, "open", lambda url: pytest.fail(f"opened {url}"))
    assert foreground.up(tmp_path, *ports.free(2)) == 0

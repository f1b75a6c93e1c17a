"""The examples of the library run as they stand, and end as they say."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

FOLDER = Path(__file__).parent.parent / "examples" / "library"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs an example in an empty folder; gives the names that it leaves."""
    monkeypatch.chdir(tmp_path)

    def names(stem: str) -> dict[str, Any]:
        with torch.random.fork_rng():
            return runpy.run_path(str(FOLDER / f"{stem}.py"))

    return names


def test_every_example_is_run_here() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in FOLDER.glob("*.py")} <= tested


def test_train_a_net(run: Any) -> None:
    names = run("train_a_net")
    assert names["error"] < 0.05
    assert (names["sigma"] - 1).abs().max() <= names["MARGIN"] + 1e-6


def test_any_module(run: Any) -> None:
    names = run("any_module")
    assert names["accuracy"] > 0.8
    assert 0.001 < names["spread"] <= 0.05 + 1e-5
    assert torch.allclose(names["before"], names["after"], atol=1e-5)
    assert not any("parametrizations" in name for name in names["net"].state_dict())


def test_watch_gradients(run: Any) -> None:
    ratios = run("watch_gradients")["ratios"]
    assert ratios["torch.nn.RNN, tanh"] < 1e-6
    assert 0.3 < ratios["spectral, modReLU, r = 1 / T"] < 3
    assert 0.1 < ratios["spectral, leaky ReLU, r = 1 / T"] < 10
    assert ratios["spectral, modReLU, r = 0.1"] > 100
    assert Path("gradients.png").read_bytes().startswith(b"\x89PNG")


def test_the_readme_of_the_library_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (FOLDER.parent.parent / "spectral" / "README.md").read_text()
    names: dict[str, Any] = {}
    with torch.random.fork_rng():
        for example in re.findall(r"```python\n(.*?)```", text, re.S):
            exec(compile(example, "spectral/README.md", "exec"), names)
    assert names["states"].shape == names["outputs"].shape == (100, 16, 64)
    assert (torch.linalg.svdvals(names["conv"].weight.flatten(1)) - 1).abs().max() < 0.1

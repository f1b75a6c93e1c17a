"""The examples of the library run as they stand, and end as they say."""

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
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
    first, rest = text.split("## Export and serve")  # the test below runs what is said there
    names: dict[str, Any] = {}
    with torch.random.fork_rng():
        for example in re.findall(r"```python\n(.*?)```", first + rest.partition("\n## ")[2], re.S):
            exec(compile(example, "spectral/README.md", "exec"), names)
    assert names["states"].shape == names["outputs"].shape == (100, 16, 64)
    assert (torch.linalg.svdvals(names["conv"].weight.flatten(1)) - 1).abs().max() < 0.1


@pytest.mark.filterwarnings("ignore")  # torch's exporters warn of what they do themselves
def test_the_readme_of_the_library_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (FOLDER.parent.parent / "spectral" / "README.md").read_text()
    (example,) = re.findall(
        r"```python\n(.*?)```", text.partition("## Export and serve")[2].partition("\n## ")[0], re.S
    )
    names: dict[str, Any] = {}
    with torch.random.fork_rng():
        exec(compile(example, "spectral/README.md", "exec"), names)
    x, zeros = names["inputs"][0][:10], names["inputs"][1]
    states, last = names["rnn"](x)
    session = onnxruntime.InferenceSession("rnn.onnx", providers=["CPUExecutionProvider"])
    inputs = {value.name: x.numpy() for value, x in zip(session.get_inputs(), (x, zeros), strict=True)}
    for found, expected in zip(session.run(None, inputs), (states, last[0]), strict=True):
        np.testing.assert_allclose(found, expected.detach(), rtol=1e-5, atol=1e-5)
    assert torch.allclose(torch.jit.load("lstm.pt")(x)[0], names["lstm"](x)[0], atol=1e-5)
    assert Path("lstm.onnx").exists()

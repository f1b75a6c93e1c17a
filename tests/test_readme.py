"""What README promises: its settings table is the settings, its example of the layer runs, its sweep is accepted."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic_settings import BaseSettings

from service.settings import ApiSettings, ControllerSettings
from workers.spec.model import ACTIVATIONS, KINDS, ModelSpec
from workers.spec.parse import parse_sweep
from workers.spec.sweep import ResourcesSpec, SearchSpec, SweepSpec
from workers.spec.training import TrainingSpec
from workers.tasks import TASKS
from workers.tasks.own_data import OwnData

README = (Path(__file__).parent.parent / "README.md").read_text()
EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.json"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def described(settings: type[BaseSettings]) -> dict[str, tuple[str, str]]:
    fields = settings.model_fields.items()
    return {
        f"SPECTRAL_{name.upper()}": ("-" if field.default is None else f"`{field.default}`", field.description or "")
        for name, field in fields
    }


def test_the_table_of_settings_is_the_settings() -> None:
    rows = re.findall(r"^\| `(SPECTRAL_\w+)` \| (\S+) \| (.+) \|$", README, re.M)
    assert {name: (default, meaning) for name, default, meaning in rows} == {
        **described(ApiSettings),
        **described(ControllerSettings),
    }


def test_the_layer_runs_as_shown() -> None:
    (example,) = [block for block in blocks("python") if "SpectralRNN" in block]
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["output"].shape == (16, 100, 64)
    assert names["h_n"].shape == (1, 16, 64)
    assert names["pack"].trials == 2
    assert (torch.linalg.svdvals(names["conv"].weight.flatten(1)) - 1).abs().max() <= 0.1 + 1e-5


def test_every_field_task_and_kind_is_named() -> None:
    named = set(re.findall(r"`(\w+)`", README))
    fields = {field for part in (ModelSpec, TrainingSpec, SearchSpec, ResourcesSpec) for field in part.model_fields}
    assert fields | KINDS | set(TASKS) | set(SweepSpec.model_fields) <= named
    assert {choice for choices in ACTIVATIONS.values() for choice in choices} <= named
    own = {field for task in TASKS.values() if task is not OwnData for field in task.model_fields}
    minor = {"facts", "normalize", "missing", "validation", "test", "split_seed", "vocabulary"}
    assert own - minor <= named


def test_the_sweep_of_the_curl_example_is_accepted() -> None:
    (script,) = blocks("bash")
    document = re.search(r"-d '(\{\n.*?\n\})' > sweep.json", script, re.S)
    assert document is not None
    assert parse_sweep(json.loads(document[1])).name == "adding-margin"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_accepted(path: Path) -> None:
    assert parse_sweep(json.loads(path.read_text())).name

"""What README and the pages beside it promise: settings and fields are complete, examples run, links lead somewhere."""

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

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SETTINGS, FIELDS, CURL = ((ROOT / "docs" / f"{name}.md").read_text() for name in ("settings", "fields", "curl"))
EXAMPLES = sorted((ROOT / "examples").glob("*.json"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def described(settings: type[BaseSettings]) -> dict[str, tuple[str, str]]:
    fields = settings.model_fields.items()
    return {
        f"SPECTRAL_{name.upper()}": ("-" if field.default is None else f"`{field.default}`", field.description or "")
        for name, field in fields
    }


def test_the_table_of_settings_is_the_settings() -> None:
    rows = re.findall(r"^\| `(SPECTRAL_\w+)` \| (\S+) \| (.+) \|$", SETTINGS, re.M)
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
    named = set(re.findall(r"`(\w+)`", FIELDS))
    fields = {field for part in (ModelSpec, TrainingSpec, SearchSpec, ResourcesSpec) for field in part.model_fields}
    assert fields | KINDS | set(TASKS) | set(SweepSpec.model_fields) <= named
    assert {choice for choices in ACTIVATIONS.values() for choice in choices} <= named
    own = {field for task in TASKS.values() if task is not OwnData for field in task.model_fields}
    minor = {"facts", "normalize", "missing", "validation", "test", "split_seed", "vocabulary"}
    assert own - minor <= named


@pytest.mark.parametrize("page", [README, CURL], ids=["README", "curl"])
def test_the_sweep_of_the_curl_example_is_accepted(page: str) -> None:
    (document,) = re.findall(r"-d '(\{\n.*?\n\})'", page, re.S)
    assert parse_sweep(json.loads(document)).name == "adding-margin"


def test_a_picture_of_the_page_and_what_it_means_are_on_the_first_screen_of_a_short_readme() -> None:
    assert len(README.encode()) < 15_000
    first_screen = README.partition("\n## ")[0]
    assert "](docs/images/tutorial-sweep.png)" in first_screen
    assert len(first_screen.splitlines()) < 25
    assert {"sweep", "trial", "plane", "table"} <= set(re.findall(r"\*+(\w+)\*+", first_screen))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_to_files_and_headings(name: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", (ROOT / name).read_text())
    assert len(links) > 5
    for file, anchor in links:
        target = ROOT / (file or name)
        assert target.is_file(), file
        assert not anchor or anchor in anchors(target.read_text()), f"{file}#{anchor}"


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs name them."""
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_accepted(path: Path) -> None:
    assert parse_sweep(json.loads(path.read_text())).name

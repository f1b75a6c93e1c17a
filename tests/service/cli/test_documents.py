"""Documents from files in JSON, YAML and TOML, and values that replace theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.cli import documents
from service.cli.errors import UserError

DOCUMENT: dict[str, Any] = {
    "name": "on and off",
    "task": {"name": "adding", "length": 20},
    "training": {"steps": 100, "lr": 0.001},
    "space": {"model.margin": {"values": [0.01, 0.1]}, "model.kind": ["spectral_rnn", "rnn"]},
}
YAML = """
name: on and off
task: {name: adding, length: 20}
training:
  steps: 100
  lr: 0.001
space:
  model.margin: {values: [0.01, 0.1]}
  model.kind: [spectral_rnn, rnn]
"""
TOML = """
name = "on and off"
[task]
name = "adding"
length = 20
[training]
steps = 100
lr = 0.001
[space]
"model.margin" = {values = [0.01, 0.1]}
"model.kind" = ["spectral_rnn", "rnn"]
"""


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text"), [("a.json", json.dumps(DOCUMENT)), ("a.yaml", YAML), ("a.YML", YAML), ("a.toml", TOML)]
)
def test_one_document_in_each_format(tmp_path: Path, name: str, text: str) -> None:
    assert documents.load(written(tmp_path, name, text)) == DOCUMENT


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "a: [1", "is not YAML at line 1, column 6"),
        ("a.yaml", "a: 1\nb: 2\na: 3", "line 3: a is given twice"),
        ("a.yaml", "1: 2", "line 1: 1 is no text"),
        ("a.yaml", "a: 2026-11-27", "holds 2026-11-27 (date)"),
        ("a.yaml", "a: .nan", "a: is not a finite number"),
        ("a.yaml", "a: &x [1, 2]\nb: *x", "uses an alias"),
        ("a.yaml", "a: !!python/object/apply:os.system [true]", "is not YAML at line 1, column 4"),
        ("a.yaml", "- 1", "does not hold an object"),
        ("a.yaml", "a: " + "[" * 3_000 + "]" * 3_000, "nested too deep"),
        ("a.yaml", b"a: \xff", "is not YAML"),
        ("a.yaml", "a: 1\n---\nb: 2", "is not YAML"),
        ("a.toml", "a = ", "is not TOML"),
        ("a.toml", "a = 2026-11-27", "holds 2026-11-27 (date)"),
        ("a.toml", "a = inf", "a: is not a finite number"),
        ("a.toml", b"a = '\xff'", "is not text in UTF-8"),
        ("a.json", "", "is not JSON at line 1"),
    ],
)
def test_what_no_sweep_can_hold_is_refused_in_words(tmp_path: Path, name: str, text: str | bytes, words: str) -> None:
    with pytest.raises(UserError) as caught:
        documents.load(written(tmp_path, name, text))
    assert words in str(caught.value) + "".join(f"{one['field']}: {one['problem']}" for one in caught.value.errors)


def test_settings_replace_values_of_the_document(tmp_path: Path) -> None:
    path = written(tmp_path, "a.yaml", YAML)
    settings = [
        "training.lr=0.01",
        "name=other",
        "model.hidden_size=8",
        "space.model.margin=[0.3]",
        "training.clip_norm=null",
    ]
    assert documents.load(path, settings) == {
        "name": "other",
        "task": DOCUMENT["task"],
        "training": {"steps": 100, "lr": 0.01, "clip_norm": None},
        "model": {"hidden_size": 8},
        "space": {**DOCUMENT["space"], "model.margin": [0.3]},
    }


@pytest.mark.parametrize("setting", ["training.lr", "=3", "a..b=1", ".a=1"])
def test_a_setting_has_the_form_path_and_value(tmp_path: Path, setting: str) -> None:
    with pytest.raises(UserError, match="another form than PATH=VALUE"):
        documents.load(written(tmp_path, "a.json", "{}"), [setting])


def test_nothing_can_be_set_in_a_number(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name is no object"):
        documents.load(written(tmp_path, "a.json", '{"name": "x"}'), ["name.first=1"])

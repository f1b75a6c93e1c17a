"""The lock file, and how its packages are installed."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def dependencies() -> ModuleType:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("dependencies", ROOT / "deploy" / "dependencies.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def locked(dependencies: ModuleType) -> dict[str, str]:
    """The lock file's blocks by package."""
    return {dependencies.name_of(block): block for block in dependencies.locked_blocks()}


def test_the_lock_file_satisfies_every_requirement_of_the_project(locked: dict[str, str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in (Requirement(text) for group in groups for text in group):
        if requirement.name != project["name"]:
            version = Requirement(locked[requirement.name].partition(" ")[0]).specifier
            (pinned,) = (specifier.version for specifier in version)
            assert requirement.specifier.contains(pinned), requirement


def test_every_package_but_torch_has_hashes(locked: dict[str, str]) -> None:
    assert {name for name, block in locked.items() if "--hash=sha256:" not in block} == {"torch"}
    assert locked["torch"].startswith("torch==")


def test_uv_gets_the_settings_of_pip(dependencies: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://packages.invalid/simple\nextra-index-url =\n  https://one.invalid/simple\n"
        "  https://two.invalid/simple\ncert = /global.pem\n[install]\ncert = /install.pem\ntrusted-host = one.invalid\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels /more-wheels")
    monkeypatch.delenv("PIP_CERT", raising=False)
    settings = dependencies.uv_settings()
    assert settings["UV_DEFAULT_INDEX"] == "https://packages.invalid/simple"
    assert settings["UV_INDEX"] == "https://one.invalid/simple https://two.invalid/simple"
    assert settings["UV_FIND_LINKS"] == "/wheels,/more-wheels"
    assert settings["SSL_CERT_FILE"] == "/install.pem"
    assert settings["UV_INSECURE_HOST"] == "one.invalid"


def test_environment_variables_of_pip_count_most(
    dependencies: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.conf").write_text("[install]\nindex-url = https://packages.invalid/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_INDEX_URL", "https://mine.invalid/simple")
    assert dependencies.uv_settings()["UV_DEFAULT_INDEX"] == "https://mine.invalid/simple"

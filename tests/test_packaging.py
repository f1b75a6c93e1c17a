"""The wheel: what is in it, and how it behaves outside the clone, beside foreign packages and without optional ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PACKAGES = ("spectral", "workers", "service")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOT_SOURCES = ("__pycache__", "*.egg-info", ".*", "build", "spectral-home")
OPTIONAL = {
    *("pydantic", "pydantic_core", "safetensors", "sklearn", "scipy", "pooch", "pandas", "pyarrow", "matplotlib"),
    *("ray", "mlflow", "fastapi", "starlette", "uvicorn", "prometheus_client", "pydantic_settings", "sqlalchemy"),
    *("alembic", "psycopg", "httpx", "typer", "click", "rich", "psutil", "onnx", "onnxscript", "onnxruntime"),
}
"""Modules that the extras install."""

COMMAND = """
from importlib.metadata import entry_points
(command,) = {entry.value: entry for entry in entry_points(group="console_scripts", name="spectral")}.values()
command.load()()
"""
HIDE = f"""
import sys
HIDDEN = {sorted(OPTIONAL)}
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
"""
"""Makes the optional modules look as if they were not installed."""

pytestmark = pytest.mark.xdist_group("wheel")  # so that one worker builds it, once

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the clone without a network."""
    copy, out = tmp_path_factory.mktemp("source") / "clone", tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_SOURCES))
    build = "import sys, setuptools.build_meta as backend; backend.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(out)], cwd=copy, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the wheel in it."""
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    """A function that runs a program outside the clone; the folder ``first`` comes before the wheel's packages."""

    def run(program: str, *arguments: str, first: Path | None = None) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(str(folder) for folder in (first, installed) if folder)
        return subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def foreign_package(folder: Path, name: str, *, distribution: str | None = None) -> Path:
    """Write another project's package into the folder, with an installer's record of it if a distribution is named."""
    package = folder / name / "__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text("KIND = 'hyperspectral images'\n")
    if distribution is not None:
        record = folder / f"{distribution}-1.0.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (record / "top_level.txt").write_text(f"{name}\n")
    return package


def test_the_wheel_has_the_three_packages_and_nothing_else(wheel: Path) -> None:
    names = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    info = f"spectral_rnn_service-{PROJECT['version']}.dist-info"
    assert names == {*PACKAGES, "spectral_rnn_service.py", info}


def test_the_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    expected = {
        str(path.relative_to(ROOT))
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(PACKAGES) and "/" in name} >= expected


def test_the_wheel_has_the_manual_where_the_api_looks_for_it(run: Run, installed: Path) -> None:
    done = run("from service.api import manual; print(*manual.FOLDERS)")
    site = installed / "service" / "api" / "site"
    assert done.stdout.split() == [str(site)], done.stderr
    assert "<h1" in (site / "tutorial.html").read_text()


def test_the_core_needs_torch_and_numpy_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Metadata.from_email(archive.read(name), validate=True)
    required = [r.name for r in metadata.requires_dist or [] if r.marker is None or r.marker.evaluate({"extra": ""})]
    assert required == ["torch", "numpy"]
    assert metadata.provides_extra == ["export", "train", "service", "all", "docs", "dev", "bench"]


def test_the_numerics_work_with_the_optional_packages_absent(run: Run, installed: Path) -> None:
    use = "output, _ = spectral.SpectralRNN(2, 4, reflectors=2)(torch.ones(3, 1, 2)); print(*output.shape)"
    done = run(f"{HIDE}\nimport spectral, torch; print(spectral.__file__); {use}")
    assert done.stdout.splitlines() == [str(installed / "spectral" / "__init__.py"), "3 1 4"], done.stderr


@pytest.mark.parametrize(
    ("program", "package", "extra"),
    [("import workers.spec", "pydantic", "train"), ("import service.client", "pydantic", "service")],
)
def test_an_import_says_which_extra_is_missing(run: Run, program: str, package: str, extra: str) -> None:
    done = run(HIDE + program)
    expected = f"'{package}' is not installed. Install what is needed: pip install 'spectral-rnn-service[{extra}]'"
    assert expected in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("hidden", ["pydantic", "typer", "rich"])
def test_the_command_says_in_one_sentence_which_extra_is_missing(run: Run, tmp_path: Path, hidden: str) -> None:
    hide = HIDE.replace(f"{sorted(OPTIONAL)}", f"['{hidden}']")
    done = run(hide + COMMAND, "train", str(ROOT / "examples" / "digits.json"), "--out", str(tmp_path / "out"))
    assert done.returncode == 2, done.stderr
    assert f"'{hidden}' is not installed" in done.stderr
    assert "pip install 'spectral-rnn-service[" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_gives_its_version_and_help(run: Run) -> None:
    assert run(COMMAND, "--version").stdout == f"spectral {PROJECT['version']}\n"
    assert run(HIDE + COMMAND, "--version").stdout == f"spectral {PROJECT['version']}\n"
    done = run(COMMAND, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "submit" in done.stdout


def test_the_command_takes_packages_of_pythonpath_last(run: Run, tmp_path: Path) -> None:
    for name in (*PACKAGES, "json", "numpy", "typer", "rich"):
        foreign_package(tmp_path / "others", name)
    done = run(COMMAND, "--help", first=tmp_path / "others")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_takes_from_pythonpath_what_is_not_installed(run: Run, tmp_path: Path) -> None:
    foreign_package(tmp_path / "others", "only_there")
    done = run(COMMAND + "import only_there; print(only_there.KIND)", "--version", first=tmp_path / "others")
    assert done.stdout.splitlines()[-1] == "hyperspectral images", done.stderr


@pytest.mark.parametrize("name", PACKAGES)
def test_the_command_names_a_foreign_package(run: Run, installed: Path, tmp_path: Path, name: str) -> None:
    overwritten = shutil.copytree(installed, tmp_path / "overwritten")
    shutil.rmtree(overwritten / name)
    found = foreign_package(overwritten, name)
    done = run(COMMAND, "--help", first=overwritten)
    assert done.returncode == 2
    assert done.stderr == (
        f"spectral: The package '{name}' should be the one of spectral-rnn-service, but Python finds another project's "
        f"at {found}. Take its folder off PYTHONPATH, or use another virtual environment; if it has overwritten ours, "
        "install spectral-rnn-service again.\n"
    )


def test_the_foreign_package_s_distribution_is_named(run: Run, installed: Path, tmp_path: Path) -> None:
    overwritten = shutil.copytree(installed, tmp_path / "overwritten")
    shutil.rmtree(overwritten / "spectral")
    foreign_package(overwritten, "spectral", distribution="hyper-images")
    done = run(COMMAND, "--help", first=overwritten)
    assert "Uninstall hyper-images (pip uninstall hyper-images), or use another virtual environment" in done.stderr


@pytest.mark.parametrize(
    ("name", "program"),
    [("spectral", "import workers.models"), ("spectral", "import service.client"), ("workers", "import service.api")],
)
def test_an_import_names_a_foreign_package(run: Run, tmp_path: Path, name: str, program: str) -> None:
    found = foreign_package(tmp_path / "others", name)
    last = run(program, first=tmp_path / "others").stderr.splitlines()[-1]
    assert last.startswith("spectral_rnn_service.ForeignPackageError:")
    assert f"The package '{name}' should be" in last
    assert str(found) in last


def test_a_folder_that_is_no_package_does_no_harm(run: Run, tmp_path: Path) -> None:
    for name in PACKAGES:
        (tmp_path / "others" / name).mkdir(parents=True)
    assert run(COMMAND, "--help", first=tmp_path / "others").returncode == 0


def test_the_checks_load_nothing_heavy(run: Run) -> None:
    done = run("import sys, service, workers; print(*sorted({n.partition('.')[0] for n in sys.modules}))")
    assert set(done.stdout.split()) & (OPTIONAL | {"torch", "numpy", "importlib_metadata"}) == set()


def test_every_extra_is_used_by_name() -> None:
    """A misspelt name in an extra that contains another one would install nothing."""
    extras = PROJECT["optional-dependencies"]
    own = [Requirement(text) for required in extras.values() for text in required]
    contained = {extra for requirement in own if requirement.name == PROJECT["name"] for extra in requirement.extras}
    assert contained == {"train", "service", "all", "export", "docs"}

"""``python deploy/dependencies.py install | lock``: install the packages of requirements.lock, or write that file anew.

``install`` installs the exact versions of the lock file into the environment that runs this script, verifies their
hashes, and then installs this project in editable mode. uv does it; pip does it, from the same file, where uv is not
available or fails. torch is pinned by its version alone, because its builds differ: a CPU build and a CUDA build of one
version have different hashes and dependencies.

``lock`` writes requirements.lock anew from pyproject.toml. Versions stay unless pyproject.toml rules them out; further
arguments go to ``uv pip compile``: ``lock --upgrade`` takes the newest versions.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
PROJECT = ("--no-deps", "--no-build-isolation", "--editable", str(ROOT))
UNHASHED = "torch"
HEADER = """\
# The exact versions of a tested set, with the hashes of their files. `make lock` writes this file from pyproject.toml.
# torch has no hash, because its builds differ; deploy/dependencies.py says how this file is installed.
"""
TORCH_METADATA = """\
[[dependency-metadata]]
name = "torch"
requires-dist = [
    "filelock", "typing-extensions>=4.10.0", "setuptools>=77.0.3", "sympy>=1.13.3", "networkx>=2.5.1", "jinja2",
    "fsspec>=0.8.5",
]
"""
"""A file of settings for ``uv pip compile`` that states what every build of torch needs.

The CUDA libraries that some builds need are left out: those builds pin them themselves.
"""

VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}
"""The environment variable of uv that does the same as each of these settings of pip."""

SECTIONS = ("global", "install", ":env:")
"""The sections of pip's configuration that count for an installation; a later one counts more."""


def main() -> int:
    """Run ``install`` or ``lock``, and return the exit status; print the usage and return 2 for anything else."""
    match sys.argv[1:]:
        case ["install"]:
            return install()
        case ["lock", *arguments]:
            return write_lock(arguments)
    print(__doc__, file=sys.stderr)
    return 2


def install() -> int:
    """Install the lock file's packages and this project, by uv or, if it fails, by pip. Return the exit status."""
    if not install_uv():
        print("uv is not available here: pip installs the packages instead, which takes a few minutes.", flush=True)
        return install_with_pip()
    if uv("pip", "install", "--quiet", "--requirement", str(LOCK)) and uv("pip", "install", "--quiet", *PROJECT):
        return 0
    print("uv could not install the packages: pip tries it, which takes a few minutes.", flush=True)
    return install_with_pip()


def install_uv() -> bool:
    """Install the locked uv by pip, and return whether that worked."""
    return pip_install_hashed([block for block in locked_blocks() if name_of(block) == "uv"])


def install_with_pip() -> int:
    """Install what ``install`` installs by pip alone, and return the exit status.

    pip wants a hash for every package or for none. Therefore it installs torch in a second step, with the dependencies
    that are left: the CUDA libraries of a CUDA build.
    """
    blocks = locked_blocks()
    (torch,) = (block.strip() for block in blocks if name_of(block) == UNHASHED)
    steps_succeeded = (
        pip_install_hashed([block for block in blocks if name_of(block) not in (UNHASHED, "uv")])
        and pip("install", "--quiet", torch)
        and pip("install", "--quiet", *PROJECT)
    )
    return 0 if steps_succeeded else 1


def pip_install_hashed(blocks: Iterable[str]) -> bool:
    """Install packages by pip without their dependencies, hashes verified, and return whether that worked.

    Args:
        blocks: The packages, as ``locked_blocks`` returns them.

    Raises:
        SystemExit: A file that pip found is not the locked one. Nothing from its index is to be trusted then.
    """
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text("\n".join(blocks))
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
        command += ["--require-hashes", "--requirement", str(requirements)]
        done = subprocess.run(command, cwd=ROOT, check=False, stderr=subprocess.PIPE, text=True)
    if done.returncode and "DO NOT MATCH THE HASHES" in done.stderr:
        sys.exit(
            f"{done.stderr}A downloaded file does not have the hash that {LOCK.name} gives; nothing was installed."
        )
    return done.returncode == 0


def locked_blocks() -> list[str]:
    """Return the lock file's requirements, each with the lines of its hashes."""
    blocks: list[str] = []
    for line in LOCK.read_text().splitlines():
        if line.startswith(" "):
            blocks[-1] += f"\n{line}"
        elif line and not line.startswith("#"):
            blocks.append(line)
    return blocks


def name_of(block: str) -> str:
    """Return the package's name in a block of the lock file."""
    return block.partition("==")[0]


def pip(*arguments: str) -> bool:
    """Run pip of this environment, and return whether it succeeded."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def uv(*arguments: str, without: Iterable[str] = ()) -> bool:
    """Run uv on the environment of this Python, and return whether it succeeded.

    pip's settings are handed on as environment variables; a variable that is set already wins.

    Args:
        arguments: The command line of uv, without the program.
        without: Names of environment variables that uv must not get, whether they come from pip's settings or were set.
    """
    variables = uv_settings() | os.environ | {"VIRTUAL_ENV": sys.prefix}
    variables = {name: value for name, value in variables.items() if name not in set(without)}
    command = [str(Path(sys.executable).with_name("uv")), *arguments]
    return subprocess.run(command, cwd=ROOT, env=variables, check=False).returncode == 0


def uv_settings() -> dict[str, str]:
    """Return pip's settings as environment variables for uv, which reads none of pip's configuration.

    pip takes the best version among all its indexes. uv does the same under the strategy that has "unsafe" in its name;
    here the hashes of the lock file make it safe.
    """
    settings = {VARIABLES[key]: value for key, value in pip_settings().items() if key in VARIABLES}
    if "UV_FIND_LINKS" in settings:
        settings["UV_FIND_LINKS"] = ",".join(settings["UV_FIND_LINKS"].split())
    return settings | {"UV_INDEX_STRATEGY": "unsafe-best-match"}


def pip_settings() -> dict[str, str]:
    """Return pip's settings for an installation by name, from its files and its environment variables.

    Of a setting that is in several of ``SECTIONS``, the value in the last one is returned.
    """
    command = [sys.executable, "-m", "pip", "config", "list"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    ranked: dict[str, tuple[int, str]] = {}
    for line in found.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in SECTIONS and value:
            rank = SECTIONS.index(section)
            if rank >= ranked.get(key, (0, ""))[0]:
                ranked[key] = rank, " ".join(str(ast.literal_eval(value)).split())
    return {key: value for key, (_, value) in ranked.items()}


def write_lock(arguments: list[str]) -> int:
    """Write requirements.lock anew from pyproject.toml by uv, and return the exit status.

    The versions and hashes come from the main index alone, so that they do not depend on files of this machine.
    """
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder, "uv.toml")
        configuration.write_text(TORCH_METADATA)
        written = uv(
            *("--config-file", str(configuration), "pip", "compile", "--quiet", "pyproject.toml", "--all-extras"),
            *("--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate", "--no-header"),
            *("--output-file", str(LOCK), *arguments),
            without=("UV_FIND_LINKS", "UV_INDEX"),
        )
    if not written:
        return 1
    blocks = (block.partition(" \\")[0] if name_of(block) == UNHASHED else block for block in locked_blocks())
    LOCK.write_text(HEADER + "\n".join(blocks) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

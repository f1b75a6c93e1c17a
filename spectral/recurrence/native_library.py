"""Builds native.cpp once for this machine and loads it; processes doing so at once do not disturb each other."""

import ctypes
import fcntl
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("native.cpp")
MACHINE = "-march=native"
"""Left out where a compiler does not know it."""
FLAGS = ("-std=c++17", "-O2", MACHINE, "-shared", "-fPIC", "-pthread")


SCALARS = {torch.float32: "float", torch.float64: "double"}


@functools.cache
def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The library for float32 or float64, or None where it cannot be built; why not is logged once.

    It lies in SPECTRAL_CACHE_DIR, else in the user's cache folder, under a name made of source, compiler, flags and
    processor, so that a home shared by unlike machines holds one build for each. CXX names another compiler.
    """
    compiler = shutil.which(os.environ.get("CXX", "")) or shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        log.warning("no C++ compiler found: the recurrence runs as a torch loop, several times slower. Install g++.")
        return None
    try:
        path = _folder() / f"native-{SCALARS[dtype]}-{_key(compiler)}.so"
        if not path.exists():
            _build(compiler, SCALARS[dtype], path)
        built = ctypes.CDLL(str(path))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # RuntimeError: nobody's home
        said = getattr(error, "stderr", None) or error
        log.warning(
            "native.cpp could not be built (%s): the recurrence runs as a torch loop, several times slower", said
        )
        return None
    built.spectral_slices.restype = ctypes.c_int64
    return built


def slices(dtype: torch.dtype, batch: int) -> int:
    """How many slices the library cuts B batch rows into."""
    built = library(dtype)
    return 0 if built is None else int(built.spectral_slices(ctypes.c_int64(batch)))


def _folder() -> Path:
    named, caches = os.environ.get("SPECTRAL_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME")
    folder = Path(named) if named else (Path(caches) if caches else Path.home() / ".cache") / "spectral"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _key(compiler: str) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    processor = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    parts = (SOURCE.read_text(), version, " ".join(FLAGS), platform.machine(), processor)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _build(compiler: str, scalar: str, path: Path) -> None:
    """Compiles beside the target and moves it there; of several processes one compiles, the others wait for it."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return
        log.info("building %s (once for this machine, about 10 s)", path.name)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            for flags in (FLAGS, [flag for flag in FLAGS if flag != MACHINE]):
                command = [compiler, *flags, f"-DSCALAR={scalar}", str(SOURCE), "-o", str(made)]
                done = subprocess.run(command, capture_output=True, text=True, timeout=300)
                if done.returncode == 0:
                    break
            done.check_returncode()
            os.replace(made, path)


def build_all() -> None:
    """Builds what is not there yet, saying so: for a set-up step, so that no first run has to wait."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for dtype in SCALARS:
        library(dtype)

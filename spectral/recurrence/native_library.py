"""Build native.cpp once for this machine and load it. Processes that do so at the same time wait for each other."""

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

from spectral.errors import OptionError

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("native.cpp")
FLAGS = ("-std=c++17", "-O2", "-shared", "-fPIC", "-pthread")
SCALARS = {torch.float32: "float", torch.float64: "double"}

INSTRUCTION_SETS: dict[str, tuple[str, ...]] = {
    "native": ("-march=native",),
    "avx2": ("-mavx2", "-mfma"),
    "baseline": (),
}
"""Values of SPECTRAL_NATIVE_ISA, and the compiler's flags for them.

``native`` uses everything that this processor has. ``avx2`` uses AVX2 and fused multiply-add on x86-64, as processors
without AVX-512 have them. ``baseline`` uses what every processor of the architecture has: SSE2 on x86-64.
"""


@functools.cache
def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """Return the compiled loop for float32 or float64, loaded, and built first if it is not there.

    The library lies in SPECTRAL_CACHE_DIR, or else in the user's cache folder. Its name is made of the source, the
    compiler, the flags and the processor, so that unlike machines can share a home folder. The environment variable CXX
    names another compiler, which is ignored if it is not found; SPECTRAL_NATIVE_ISA names another instruction set. The
    first call for a dtype decides for the whole process.

    Returns:
        The library, or None if it cannot be built or loaded; the reason is then logged, once for each dtype.

    Raises:
        OptionError: If SPECTRAL_NATIVE_ISA is not in INSTRUCTION_SETS.
    """
    instruction_set = chosen_instruction_set()
    compiler = shutil.which(os.environ.get("CXX", "")) or shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        log.warning(
            "no C++ compiler found; the recurrence runs in PyTorch instead, which is several times slower. Install g++."
        )
        return None
    try:
        path = _folder() / f"native-{SCALARS[dtype]}-{_key(compiler, instruction_set)}.so"
        if not path.exists():
            _build(compiler, SCALARS[dtype], instruction_set, path)
        built = ctypes.CDLL(str(path))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # RuntimeError: the user has no home folder
        log.warning(
            "native.cpp could not be built (%s); the recurrence runs in PyTorch instead, which is several times slower",
            getattr(error, "stderr", None) or error,
        )
        return None
    built.spectral_slices.restype = ctypes.c_int64
    return built


def chosen_instruction_set() -> str:
    """Return the instruction set that SPECTRAL_NATIVE_ISA names, ``native`` if it is unset or empty.

    Raises:
        OptionError: If it is not in INSTRUCTION_SETS.
    """
    name = os.environ.get("SPECTRAL_NATIVE_ISA") or "native"
    if name not in INSTRUCTION_SETS:
        raise OptionError(f"SPECTRAL_NATIVE_ISA must be one of {', '.join(INSTRUCTION_SETS)}; found {name!r}")
    return name


def slices(dtype: torch.dtype, batch: int) -> int:
    """Return how many slices the library cuts ``batch`` rows into; 0 if there is no library."""
    built = library(dtype)
    return 0 if built is None else int(built.spectral_slices(ctypes.c_int64(batch)))


def build_all() -> None:
    """Build the libraries for float32 and float64 that are missing, and log each build or the reason of its failure.

    A set-up step calls this, so that no first run has to wait. A failed build raises no error.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for dtype in SCALARS:
        library(dtype)


def _folder() -> Path:
    """Return the folder of built libraries, and create it if it is missing."""
    named, caches = os.environ.get("SPECTRAL_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME")
    folder = Path(named) if named else (Path(caches) if caches else Path.home() / ".cache") / "spectral"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _key(compiler: str, instruction_set: str) -> str:
    """Return a hash of all that the machine code depends on."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    processor = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    flags = " ".join((*FLAGS, *INSTRUCTION_SETS[instruction_set]))
    parts = (SOURCE.read_text(), version, flags, platform.machine(), processor)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _build(compiler: str, scalar: str, instruction_set: str, path: Path) -> None:
    """Compile the source and put the library at ``path``.

    One of several processes compiles and the others wait for it. The library is moved into place when it is complete,
    so that nobody loads half of it.

    Raises:
        subprocess.CalledProcessError: If the compiler fails.
        subprocess.TimeoutExpired: If it takes more than 300 seconds.
    """
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return
        log.info("building %s (once for this machine, about 10 s)", path.name)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            attempts = [INSTRUCTION_SETS[instruction_set]]
            if instruction_set == "native":
                attempts.append(())  # some compilers do not know -march=native
            for flags in attempts:
                command = [compiler, *FLAGS, *flags, f"-DSCALAR={scalar}", str(SOURCE), "-o", str(made)]
                done = subprocess.run(command, capture_output=True, text=True, timeout=300)
                if done.returncode == 0:
                    break
            done.check_returncode()
            os.replace(made, path)

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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spectral.errors import OptionError

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("native.cpp")
HEADERS = tuple(sorted(Path(__file__).parent.glob("*.h")))
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
        try:
            built = ctypes.CDLL(str(path))
        except OSError:  # the file is damaged, by a full disk for example
            path.unlink(missing_ok=True)  # another process may mend it at the same time
            _build(compiler, SCALARS[dtype], instruction_set, path)
            built = ctypes.CDLL(str(path))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # RuntimeError: the user has no home folder
        log.warning(
            "native.cpp could not be built (%s); the recurrence runs in PyTorch instead, which is several times slower",
            getattr(error, "stderr", None) or error,
        )
        return None
    built.spectral_peak.restype = ctypes.c_double
    return built


def available(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether the library can run: on the CPU, in float32 or float64, if it can be built.

    The first call for a dtype on the CPU loads the library, and compiles it if it is missing.
    """
    return device.type == "cpu" and dtype in SCALARS and library(dtype) is not None


# What torch.compiler.assume_constant_result does: the compiler calls the function and does not look into it. Calling
# that here would import the whole compiler, which takes seconds.
available._dynamo_marked_constant = True  # type: ignore[attr-defined]


def required(dtype: torch.dtype) -> ctypes.CDLL:
    """Return the library. Raises RuntimeError if it could not be built."""
    built = library(dtype)
    if built is None:
        raise RuntimeError("the native library could not be built on this machine; use backend='auto'")
    return built


def integers(*values: int) -> Any:
    """Return values as the library takes them, an array of int64."""
    return (ctypes.c_int64 * len(values))(*values)


def pointers(arrays: Iterable[Tensor | None]) -> Any:
    """Return the addresses of contiguous tensors as the library takes them, null for None."""
    found = [None if array is None else array.data_ptr() for array in arrays]
    return (ctypes.c_void_p * len(found))(*found)


def tile(dtype: torch.dtype) -> dict[str, int]:
    """Return the tile of a product, ``rows`` and ``vectors``, and how many numbers a vector has."""
    found = integers(0, 0, 0)
    required(dtype).spectral_tile(found)
    return dict(zip(("rows", "vectors", "width"), found, strict=True))


def peak(dtype: torch.dtype, rounds: int = 20) -> float:
    """Return the operations a second of multiply-adds in registers alone on one core, the best of some rounds.

    It is what no loop of products can exceed. 0 if it is not known for this kind of processor.
    """
    return float(required(dtype).spectral_peak(ctypes.c_int64(rounds)))


def instruction_set() -> str:
    """Return the instruction set that the library uses, by the bytes of its vectors and the kind of processor."""
    size = 4 * tile(torch.float32)["width"]
    if platform.machine() in ("x86_64", "AMD64"):
        return {64: "AVX-512", 32: "AVX2", 16: "SSE2"}[size]
    return "NEON" if platform.machine() in ("aarch64", "arm64") else f"vectors of {size} bytes"


def chosen_instruction_set() -> str:
    """Return the instruction set that SPECTRAL_NATIVE_ISA names, ``native`` if it is unset or empty.

    Raises:
        OptionError: If it is not in INSTRUCTION_SETS.
    """
    name = os.environ.get("SPECTRAL_NATIVE_ISA") or "native"
    if name not in INSTRUCTION_SETS:
        raise OptionError(f"SPECTRAL_NATIVE_ISA must be one of {', '.join(INSTRUCTION_SETS)}; found {name!r}")
    return name


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
    sources = "".join(path.read_text() for path in (SOURCE, *HEADERS))
    parts = (sources, version, flags, platform.machine(), processor)
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

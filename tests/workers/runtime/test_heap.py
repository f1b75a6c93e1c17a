"""Training processes keep freed memory."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from workers.runtime.heap import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def use():
    for _ in range(20):
        block = bytearray(20_000_000)
        other = bytearray(20_000_000)
        del block, other
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the heap is another one")
def test_memory_that_was_freed_is_used_again_without_page_faults() -> None:
    kept = faults("keep")
    assert kept < 100
    assert faults("default") > 3 * kept + 100  # tens of thousands, or hundreds where the kernel gives large pages

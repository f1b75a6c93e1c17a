import subprocess
import sys

ALONE = """
import sys, torch, numpy
before = set(sys.modules)
import spectral
import spectral.householder.decompose, spectral.recurrence.reference
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(loaded - set(sys.stdlib_module_names) - {"torch", "numpy", "spectral"}))
"""


def test_the_package_needs_torch_numpy_and_the_standard_library_alone():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

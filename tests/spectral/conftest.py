"""Let Triton's interpreter run the kernels in these tests; Triton reads the variable when they are first imported.

On a GPU the kernels are checked by test_on_a_gpu.py, in a separate process.
"""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")

"""Triton's kernels run in its interpreter here; it reads this when they are first imported. On a GPU they are checked
by test_on_a_gpu.py, in a process of its own.
"""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")

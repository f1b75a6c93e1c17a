"""The kernels of a training step run in Triton's interpreter here, since tests need no GPU."""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")

"""Where no GPU is, the Triton kernels run in Triton's interpreter; it reads this when they are first imported."""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

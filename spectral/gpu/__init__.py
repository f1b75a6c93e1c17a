"""Triton kernels for what surrounds the recurrence on a GPU; see README.md in this folder."""

"""Record what torch_householder makes of some parameters: ``make_torch_householder.py OUT``.

torch_householder compiles itself against the installed torch, so the tests read this record and do not install it. In
an environment of its own, with a C++ compiler and ninja::

    pip install --no-build-isolation torch-householder==1.0.1
    python make_torch_householder.py torch_householder.json

The record is a list of cases, each with ``param`` (n, m) or (batch, n, m), ``tau`` or null, and ``result``, in float64.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import Tensor
from torch_householder import torch_householder_orgqr

F64 = torch.float64


def parameters() -> list[tuple[Tensor, Tensor | None]]:
    """Return parameters of all kinds, each with tau or None."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=F64, generator=generator).round(decimals=3)

    unit_lower = draw(5, 3).tril(-1) + torch.eye(5, 3, dtype=F64)
    tau = 2 / unit_lower.square().sum(0)
    with_a_zero_column = draw(4, 3).tril()
    with_a_zero_column[:, 1] = 0
    one_identity = tau.clone()
    one_identity[1] = 0
    return [
        (draw(4, 2).tril(), None),
        (draw(4, 4).tril(), None),
        (draw(2, 5, 3).tril(), None),
        (draw(1, 1), None),
        (draw(5, 3), None),  # with entries above the diagonal
        (with_a_zero_column, None),
        (unit_lower, None),
        (unit_lower, tau),
        (unit_lower, one_identity),
        (draw(2, 4, 2), None),
    ]


def main() -> None:
    """Write the record."""
    cases = [
        {
            "param": param.tolist(),
            "tau": None if tau is None else tau.tolist(),
            "result": torch_householder_orgqr(param, tau).tolist(),
        }
        for param, tau in parameters()
    ]
    Path(sys.argv[1]).write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    main()

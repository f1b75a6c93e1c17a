"""Measure what a step of some packs costs on this machine, in a few seconds: ``python -m workers.runtime.calibration``.

Standard input is a ``CalibrationRequest`` as JSON; standard output gets a ``Calibration`` as JSON. Each pack is made as
a worker makes it and trained for a few steps, and its results are forgotten.
"""

from __future__ import annotations

import sys

from workers.runtime.heap import keep_freed_memory
from workers.spec.cost import Calibration, CalibrationRequest, MeasuredCost
from workers.training.running_clock import running_seconds


def calibrate(request: CalibrationRequest, began: float) -> Calibration:
    """Measure the packs one after another.

    Args:
        request: What is to be measured.
        began: When the process began, as ``running_seconds`` says. The first pack's ``start_seconds`` count from then.

    Raises:
        NoGpu: The packs need a GPU, and torch finds none.
        DataMissing: The data of a task cannot be read.
    """
    import torch

    from workers.errors import NoGpu
    from workers.training.pack_probe import probe

    if request.gpus and not torch.cuda.is_available():
        raise NoGpu("the packs need a GPU, but torch finds none on this machine")
    torch.set_num_threads(max(1, int(request.cpus)))
    device = torch.device("cuda" if request.gpus else "cpu")
    seconds, costs, busy = request.seconds / len(request.packs), list[MeasuredCost](), list[float]()
    for trials in request.packs:
        measured = probe(trials, device, seconds, request.data_dir, request.scratch_dir, began if not costs else None)
        costs.append(measured.cost(trials, request.cpus, request.gpus))
        busy.append(measured.busy)
    return Calibration(costs=costs, busy=min(busy))


def main() -> None:
    """Read a request, measure, and print the result. An exception ends the process with one line of error output."""
    began = running_seconds()
    keep_freed_memory()  # as a worker does
    request = CalibrationRequest.model_validate_json(sys.stdin.read())
    try:
        found = calibrate(request, began)
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")
    sys.stdout.write(found.model_dump_json())


if __name__ == "__main__":
    main()

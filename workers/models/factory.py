"""From a spec to a network: the one factory."""

from __future__ import annotations

import math

import torch
from torch import nn

from spectral import SpectralRNN
from workers.model_spec import ModelSpec
from workers.models.sequence_model import Readout, Recurrent, SequenceModel
from workers.spec import TrialSpec
from workers.tasks import Task

START_STREAM = 0x5EED
"""Set apart from the streams that draw batches, so that a seed's start and its data order are independent."""


def build(spec: ModelSpec, task: Task, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> SequenceModel:
    """The network of ``spec`` for ``task`` on the CPU, its start a function of ``seed`` alone.

    spectral_rnn starts as ``spec.start`` says; rnn and lstm as in torch.nn, from U(-1/sqrt(n), 1/sqrt(n)).
    """
    generator = torch.Generator().manual_seed((seed << 16) + START_STREAM)
    size = spec.hidden_size
    readout: Readout = getattr(task, "readout", "last")
    recurrent: Recurrent
    if spec.kind == "spectral_rnn":
        recurrent = _spectral(spec, task, dtype, generator)
    elif spec.kind == "rnn":
        activation = spec.activation or "relu"
        recurrent = nn.RNN(task.input_size, size, spec.layers, activation, batch_first=True, dtype=dtype)
    else:
        recurrent = nn.LSTM(task.input_size, size, spec.layers, batch_first=True, dtype=dtype)
    head = nn.Linear(size, task.output_size, dtype=dtype)
    drawn = [*head.parameters()] if spec.kind == "spectral_rnn" else [*recurrent.parameters(), *head.parameters()]
    for parameter in drawn:
        nn.init.uniform_(parameter, -1 / math.sqrt(size), 1 / math.sqrt(size), generator=generator)
    return SequenceModel(recurrent, head, readout=readout)


def start_of(trial: TrialSpec) -> SequenceModel:
    """The network of a trial before its first step."""
    dtype: torch.dtype = getattr(torch, trial.training.dtype)
    return build(trial.model, trial.task, dtype=dtype, seed=trial.training.seed)


def _spectral(spec: ModelSpec, task: Task, dtype: torch.dtype, generator: torch.Generator) -> SpectralRNN:
    return SpectralRNN(
        task.input_size,
        spec.hidden_size,
        spec.layers,
        spec.activation or "relu",
        batch_first=True,
        dtype=dtype,
        reflectors=spec.reflector_counts,
        margin=spec.band_margin,
        sigma=spec.band_centre,
        start=spec.start or "gaussian",
        generator=generator,
    )

"""From a spec to a network: the one factory."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from spectral import PackedLinear, SpectralGRU, SpectralLinear, SpectralLSTM, SpectralRNN
from workers.models.deep import DeepModel
from workers.models.exponential import ExponentialRNN
from workers.models.recurrent import Recurrent, RecurrentModel
from workers.models.sequence_model import SequenceModel
from workers.spec.model import RESIDUAL, ModelSpec
from workers.spec.trial import TrialSpec
from workers.tasks import Task

START_STREAM = 0x5EED
"""Set apart from the streams that draw batches, so that a seed's start and its data order are independent."""

IRNN_INPUT = 1e-3
"""Deviation of an irnn's input weights (Le, Jaitly and Hinton 2015)."""


def build(
    spec: ModelSpec,
    task: Task,
    *,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    recompute_every: int | None = None,
) -> SequenceModel:
    """The network of ``spec`` for ``task`` on the CPU, its start a function of ``seed`` alone.

    Spectral kinds and exprnn start as ``spec.start`` says. rnn, gru, mlp and resnet as in torch.nn, from
    U(-1/sqrt(n), 1/sqrt(n)); lstm and spectral_lstm too, with 1 as the forget gate's bias (Jozefowicz, Zaremba and
    Sutskever 2015); irnn from the identity with no bias (Le, Jaitly and Hinton 2015); spectral_mlp has no bias at
    first, and spectral_resnet singular values all over its band, since at sigma* = 0 nothing reaches a block's first
    layer. Heads: U(-1/sqrt(n), 1/sqrt(n)). Embeddings: N(0, 1). recompute_every: as SpectralRNN's checkpoint_every;
    other kinds keep every state.
    """
    generator = torch.Generator().manual_seed((seed << 16) + START_STREAM)
    embedding, width = None, task.input_size
    if task.tokens is not None:
        width = spec.embedding_of(task.tokens)
        embedding = nn.Embedding(task.tokens, width, dtype=dtype)
    head = nn.Linear(spec.hidden_size, task.output_size, dtype=dtype)
    model: SequenceModel
    if spec.recurrent:
        recurrent = _recurrent(spec, width, dtype, generator, recompute_every)
        model = RecurrentModel(recurrent, head, readout=task.readout, embedding=embedding)
    else:
        model = _deep(spec, head, width * task.sequence_length, embedding, dtype, generator)
    _draw(head.parameters(), spec.hidden_size, generator)
    if embedding is not None:
        nn.init.normal_(embedding.weight, generator=generator)
    return model


def start_of(trial: TrialSpec) -> SequenceModel:
    """The network of a trial before its first step."""
    training = trial.training
    dtype: torch.dtype = getattr(torch, training.parameter_dtype)
    return build(trial.model, trial.task, dtype=dtype, seed=training.seed, recompute_every=training.recompute_every)


def _recurrent(
    spec: ModelSpec, width: int, dtype: torch.dtype, generator: torch.Generator, recompute_every: int | None
) -> Recurrent:
    size, layers = spec.hidden_size, spec.layers
    if spec.kind in ("spectral_rnn", "ornn"):
        return _spectral(spec, width, dtype, generator, recompute_every)
    if spec.kind in ("spectral_lstm", "spectral_gru"):
        return _gated(spec, width, dtype, generator)
    if spec.kind == "exprnn":
        start, phi = spec.start_name, spec.nonlinearity
        return ExponentialRNN(width, size, layers, phi, start=start, generator=generator, dtype=dtype)
    plain: nn.RNN | nn.LSTM | nn.GRU
    if spec.kind == "lstm":
        plain = nn.LSTM(width, size, layers, batch_first=True, dtype=dtype)
    elif spec.kind == "gru":
        plain = nn.GRU(width, size, layers, batch_first=True, dtype=dtype)
    else:
        plain = nn.RNN(width, size, layers, spec.nonlinearity, batch_first=True, dtype=dtype)
    _draw(plain.parameters(), size, generator)
    if spec.kind == "irnn":
        _start_at_identity(plain, generator)
    if spec.kind == "lstm":
        _open_forget_gates(plain, size)
    return plain


def _spectral(
    spec: ModelSpec, width: int, dtype: torch.dtype, generator: torch.Generator, recompute_every: int | None
) -> SpectralRNN:
    return SpectralRNN(
        width, spec.hidden_size, spec.layers, spec.nonlinearity,
        batch_first=True,
        dtype=dtype,
        reflectors=spec.reflector_counts,
        margin=spec.band_margin,
        sigma=spec.band_centre,
        spectrum="fixed" if spec.kind == "ornn" else "sigmoid",
        checkpoint_every=recompute_every,
        start=spec.start_name,
        generator=generator,
    )  # fmt: skip


def _gated(spec: ModelSpec, width: int, dtype: torch.dtype, generator: torch.Generator) -> SpectralLSTM | SpectralGRU:
    kind = SpectralLSTM if spec.kind == "spectral_lstm" else SpectralGRU
    net = kind(
        width, spec.hidden_size, spec.layers,
        batch_first=True,
        dtype=dtype,
        reflectors=spec.reflector_counts,
        margin=spec.band_margin,
        sigma=spec.band_centre,
        start=spec.start_name,
        generator=generator,
    )  # fmt: skip
    if isinstance(net, SpectralLSTM):
        _open_forget_gates(net, spec.hidden_size)
    return net


def _deep(
    spec: ModelSpec, head: nn.Linear, width: int, embedding: nn.Embedding | None,
    dtype: torch.dtype, generator: torch.Generator,
) -> DeepModel:  # fmt: skip
    size = spec.hidden_size
    first = nn.Linear(width, size, dtype=dtype)
    _draw(first.parameters(), width, generator)
    layers: PackedLinear | SpectralLinear
    if spec.spectral:
        layers = _spectral_layers(spec, dtype, generator)
    else:
        layers = PackedLinear(spec.layers, size, size, dtype=dtype, generator=generator)
    residual = spec.kind in RESIDUAL
    return DeepModel(first, layers, head, activation=spec.nonlinearity, residual=residual, embedding=embedding)


@torch.no_grad()
def _spectral_layers(spec: ModelSpec, dtype: torch.dtype, generator: torch.Generator) -> SpectralLinear:
    size = spec.hidden_size
    layers = SpectralLinear.pack([
        SpectralLinear(
            size, size, dtype=dtype, reflectors=spec.reflector_counts, margin=spec.band_margin,
            sigma=spec.band_centre, start=spec.start_name, generator=generator,
        )
        for _ in range(spec.layers)
    ])  # fmt: skip
    assert layers.bias is not None
    assert layers.singular is not None
    layers.bias.zero_()
    if spec.kind == "spectral_resnet":
        nn.init.normal_(layers.singular, generator=generator)
    return layers


def _draw(parameters: Iterable[Tensor], size: int, generator: torch.Generator) -> None:
    for parameter in parameters:
        nn.init.uniform_(parameter, -1 / math.sqrt(size), 1 / math.sqrt(size), generator=generator)


@torch.no_grad()
def _start_at_identity(net: nn.Module, generator: torch.Generator) -> None:
    for name, parameter in net.named_parameters():
        if name.startswith("weight_hh"):
            nn.init.eye_(parameter)
        elif name.startswith("weight_ih"):
            nn.init.normal_(parameter, std=IRNN_INPUT, generator=generator)
        else:
            parameter.zero_()


@torch.no_grad()
def _open_forget_gates(net: nn.Module, size: int) -> None:
    """Gates stand in torch's order: input, forget, cell, output. torch.nn.LSTM adds two biases; one becomes 0."""
    for name, parameter in net.named_parameters():
        if name.startswith("bias"):
            parameter[size : 2 * size] = 0.0 if name.startswith("bias_hh") else 1.0

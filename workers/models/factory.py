"""Build a network from its spec."""

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
"""Keeps the random stream of initial parameters apart from those of batches, so that the two are independent."""

IRNN_INPUT = 1e-3
"""The standard deviation of the input weights of an irnn (Le, Jaitly and Hinton 2015)."""


def build(
    spec: ModelSpec,
    task: Task,
    *,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    recompute_every: int | None = None,
) -> SequenceModel:
    """Return the network of a spec for a task, on the CPU. Its initial parameters are a function of the seed.

    Initial parameters:

    - The transitions of spectral kinds, of ornn and of exprnn are initialised as ``spec.start`` says.
    - rnn, gru, lstm, mlp and resnet are initialised as in torch.nn, from U(-1/sqrt(n), 1/sqrt(n)). lstm and
      spectral_lstm have 1 as the bias of the forget gate (Jozefowicz, Zaremba and Sutskever 2015).
    - irnn starts from the identity, with biases of 0 and input weights from N(0, 1e-6) (Le, Jaitly and Hinton 2015).
    - The first layer of mlp, resnet, spectral_mlp and spectral_resnet, with d inputs, is drawn with its bias from
      U(-1/sqrt(d), 1/sqrt(d)).
    - The n -> n layers of spectral_mlp and spectral_resnet have biases of 0. The singular values of spectral_resnet are
      drawn over its whole band: with sigma* = 0 in all of them, no gradient would reach the first layer of a block.
    - Heads are drawn from U(-1/sqrt(n), 1/sqrt(n)), embeddings from N(0, 1).

    Args:
        spec: The model's spec.
        task: The task, which decides the sizes of inputs and outputs and the readout.
        dtype: The dtype of the parameters.
        seed: The seed of all initial parameters.
        recompute_every: The ``checkpoint_every`` of ``SpectralRNN``: steps between two states that are kept for the
            backward pass. The other kinds keep every state.
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
    _init_uniform(head.parameters(), spec.hidden_size, generator)
    if embedding is not None:
        nn.init.normal_(embedding.weight, generator=generator)
    return model


def initial_network(trial: TrialSpec) -> SequenceModel:
    """Return the network of a trial as it is before the first optimiser step."""
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
    _init_uniform(plain.parameters(), size, generator)
    if spec.kind == "irnn":
        _start_at_identity(plain, generator)
    if spec.kind == "lstm":
        _open_forget_gates(plain, size)
    return plain


def _spectral(
    spec: ModelSpec, width: int, dtype: torch.dtype, generator: torch.Generator, recompute_every: int | None
) -> SpectralRNN:
    return SpectralRNN(
        width,
        spec.hidden_size,
        spec.layers,
        spec.nonlinearity,
        batch_first=True,
        dtype=dtype,
        reflectors=spec.reflector_counts,
        margin=spec.band_margin,
        sigma=spec.band_centre,
        spectrum="fixed" if spec.kind == "ornn" else "sigmoid",
        checkpoint_every=recompute_every,
        init=spec.start_name,
        generator=generator,
    )


def _gated(spec: ModelSpec, width: int, dtype: torch.dtype, generator: torch.Generator) -> SpectralLSTM | SpectralGRU:
    kind = SpectralLSTM if spec.kind == "spectral_lstm" else SpectralGRU
    net = kind(
        width,
        spec.hidden_size,
        spec.layers,
        batch_first=True,
        dtype=dtype,
        reflectors=spec.reflector_counts,
        margin=spec.band_margin,
        sigma=spec.band_centre,
        init=spec.start_name,
        generator=generator,
    )
    if isinstance(net, SpectralLSTM):
        _open_forget_gates(net, spec.hidden_size)
    return net


def _deep(
    spec: ModelSpec,
    head: nn.Linear,
    width: int,
    embedding: nn.Embedding | None,
    dtype: torch.dtype,
    generator: torch.Generator,
) -> DeepModel:
    size = spec.hidden_size
    first = nn.Linear(width, size, dtype=dtype)
    _init_uniform(first.parameters(), width, generator)
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
    single = [
        SpectralLinear(
            size,
            size,
            dtype=dtype,
            reflectors=spec.reflector_counts,
            margin=spec.band_margin,
            sigma=spec.band_centre,
            init=spec.start_name,
            generator=generator,
        )
        for _ in range(spec.layers)
    ]
    layers = SpectralLinear.pack(single)
    assert layers.bias is not None
    assert layers.svd.singular is not None
    layers.bias.zero_()
    if spec.kind == "spectral_resnet":
        nn.init.normal_(layers.svd.singular, generator=generator)
    return layers


def _init_uniform(parameters: Iterable[Tensor], size: int, generator: torch.Generator) -> None:
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
    """Set the bias of every forget gate to 1.

    Gates are in torch's order: input, forget, cell, output. torch.nn.LSTM adds two biases, of which one becomes 0.
    """
    for name, parameter in net.named_parameters():
        if name.startswith("bias"):
            parameter[size : 2 * size] = 0.0 if name.startswith("bias_hh") else 1.0

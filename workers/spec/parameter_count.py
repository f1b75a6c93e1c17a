"""Count the trainable parameters of a model from its specification alone."""

from __future__ import annotations

from typing import NamedTuple

from workers.spec.model import ModelSpec
from workers.tasks import Task

GATES = {"lstm": 4, "spectral_lstm": 4, "gru": 3, "spectral_gru": 3}
"""Number of gates, each with a transition matrix of its own; other kinds have one matrix."""


class Parameters(NamedTuple):
    """Numbers of trainable parameters.

    ``recurrent`` counts the transitions from h to h, or the n -> n layers, with their biases and modReLU's offsets.
    ``total`` adds the input weights, the first layer of a network that reads a sequence at once, the embedding and the
    head.
    """

    total: int
    recurrent: int


def count_parameters(model: ModelSpec, task: Task) -> Parameters:
    """Count the trainable parameters of a network for a task.

    Fixed zeros of the reflectors are not counted, and a skew-symmetric matrix counts as its n (n - 1) / 2 free numbers.
    Of torch's recurrent networks both biases are counted. For one layer of spectral_rnn, ``total`` without the bias of
    the head is the count of the paper.
    """
    n, tokens = model.hidden_size, task.tokens
    width = task.input_size if tokens is None else model.embedding_of(tokens)
    embedding = 0 if tokens is None else tokens * width
    head = (n + 1) * task.output_size
    recurrent = model.layers * _count_layer(model)
    if not model.recurrent:
        first = n * (width * task.sequence_length + 1)
        return Parameters(embedding + first + recurrent + head, recurrent)
    inputs = GATES.get(model.kind, 1) * n * (width + (model.layers - 1) * n)
    return Parameters(embedding + inputs + recurrent + head, recurrent)


def _count_layer(model: ModelSpec) -> int:
    """Count the parameters of one layer without its input weights."""
    n, gates = model.hidden_size, GATES.get(model.kind, 1)
    offset = n if model.nonlinearity == "modrelu" else 0
    if model.reflected:
        m1, m2 = model.reflector_counts
        reflectors = (m1 + m2) * n - (m1 * (m1 - 1) + m2 * (m2 - 1)) // 2
        singular = n if model.spectral else 0
        inner_bias = n if model.kind == "spectral_gru" else 0
        return gates * (reflectors + singular + n) + inner_bias + offset
    if model.kind == "exprnn":
        return n * (n - 1) // 2 + n + offset
    return gates * (n * n + (2 * n if model.recurrent else n))

"""How many numbers a model can move, from its spec alone (no torch)."""

from __future__ import annotations

from typing import NamedTuple

from workers.spec.model import ModelSpec
from workers.tasks import Task

GATES = {"lstm": 4, "spectral_lstm": 4, "gru": 3, "spectral_gru": 3}


class Parameters(NamedTuple):
    """total: all. recurrent: of what takes h to h, or of the n -> n layers: transitions and biases, without input
    weights, embedding and head.
    """

    total: int
    recurrent: int


def count(model: ModelSpec, task: Task) -> Parameters:
    """Entries of a reflector above its own coordinate and of a skew matrix's upper half are no parameters; a net's two
    biases in torch are two. For one spectral_rnn layer and a head without bias ``total`` is the paper's count.
    """
    n, tokens = model.hidden_size, task.tokens
    width = task.input_size if tokens is None else model.embedding_of(tokens)
    embedding = 0 if tokens is None else tokens * width
    head = (n + 1) * task.output_size
    recurrent = model.layers * _layer(model)
    if not model.recurrent:
        first = n * (width * task.sequence_length + 1)
        return Parameters(embedding + first + recurrent + head, recurrent)
    inputs = GATES.get(model.kind, 1) * n * (width + (model.layers - 1) * n)
    return Parameters(embedding + inputs + recurrent + head, recurrent)


def _layer(model: ModelSpec) -> int:
    """Of one layer, without its input weights."""
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

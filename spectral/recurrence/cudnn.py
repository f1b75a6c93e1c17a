"""The backend ``cudnn``: W formed, and the whole sequence in torch's own RNN, for tanh and relu.

torch's RNN runs cuDNN's kernels on a CUDA device and ATen's elsewhere. It pays on CUDA devices, and where there are so
many reflectors that the factored form saves nothing. The trials of a pack run one after another. Whether TF32 is used
follows ``torch.backends.cudnn.allow_tf32``, as for ``torch.nn.RNN``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from spectral.recurrence import dense as dense_backend
from spectral.recurrence.activation import Activation
from spectral.transition import Matrix
from spectral.transition import dense as dense_transition

ACTIVATIONS = ("tanh", "relu")


def run(z: Tensor, h0: Tensor, matrix: Matrix, activation: Activation, offset: Tensor | None = None) -> Tensor:
    """Return all states of h_t = phi(z_t + W h_{t-1}).

    Shapes are those of ``reference.run``. Cost: 12 n^2 B T flop, half of it for the product of z with the identity,
    which torch's RNN wants in place of M.
    """
    return layer(z, None, None, h0, matrix, activation)[0]


def layer(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    h0: Tensor,
    matrix: Matrix,
    activation: Activation,
    offset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return all states and the last state of a layer.

    Args:
        x: The input, shape (T, B, I), or z, shape (T, B, n), without ``weight``; with a leading K in a pack, as all.
        weight: M, shape (n, I), or None.
        bias: b, shape (n,), or None.
        h0: The state before the first step, shape (B, n).
        matrix: W in any form.
        activation: tanh or relu.
        offset: None; torch's RNN has no modReLU.
    """
    assert offset is None, "torch's RNN has no modrelu"
    w = dense_transition(matrix)
    if h0.shape[-2] == 0:  # torch's RNN refuses an empty batch
        z = x if weight is None else x.new_zeros(*x.shape[:-1], w.shape[-1])
        states = dense_backend.run(z, h0, w, activation)
        return states, states[..., -1, :, :]
    if weight is None:
        weight = torch.eye(w.shape[-1], dtype=w.dtype, device=w.device).expand_as(w)
    bias = w.new_zeros(w.shape[:-1]) if bias is None else bias
    if x.dim() == 3:
        return _run_trial(x, weight, bias, h0, w, activation)
    trials = [_run_trial(*tensors, activation) for tensors in zip(x, weight, bias, h0, w, strict=True)]
    return torch.stack([states for states, _ in trials]), torch.stack([last for _, last in trials])


def _run_trial(
    x: Tensor, weight: Tensor, bias: Tensor, h0: Tensor, w: Tensor, activation: Activation
) -> tuple[Tensor, Tensor]:
    """Return all states and the last state of a layer of one trial."""
    weights = contiguous_weights((weight, w, bias, torch.zeros_like(bias)))
    run_rnn = torch.rnn_tanh if activation.name == "tanh" else torch.rnn_relu
    train = torch.is_grad_enabled()  # cuDNN keeps what backward needs in training mode only
    states, last = run_rnn(x, h0.unsqueeze(0).contiguous(), weights, True, 1, 0.0, train, False, False)
    return states, last.squeeze(0)


def contiguous_weights(weights: Sequence[Tensor]) -> list[Tensor]:
    """Return the same weights as views of one array, in cuDNN's order: all matrices first, then all vectors.

    cuDNN would otherwise copy the weights at every call, and warn about it.
    """
    order = sorted(range(len(weights)), key=lambda i: weights[i].dim() == 1)
    flat = torch.cat([weights[i].flatten() for i in order])
    views = list(weights)
    for i, piece in zip(order, torch.split(flat, [weights[i].numel() for i in order]), strict=True):
        views[i] = piece.view(weights[i].shape)
    return views

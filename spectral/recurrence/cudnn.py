"""W formed, and the whole sequence in torch's own RNN: cuDNN's kernels on a CUDA device, ATen's elsewhere.

For CUDA devices and sets of reflectors so large that the factored form saves nothing. tanh and relu alone; a pack
runs trial by trial. Under TF32 as torch.backends.cudnn.allow_tf32 says, as torch.nn.RNN does.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from spectral.recurrence import dense as step_by_step
from spectral.recurrence.activation import Activation
from spectral.transition import Matrix
from spectral.transition import dense as dense_transition

ACTIVATIONS = ("tanh", "relu")


def run(z: Tensor, h0: Tensor, matrix: Matrix, activation: Activation, offset: Tensor | None = None) -> Tensor:
    """h_t = phi(z_t + W h_{t-1}); shapes as in reference.run. Cost: 12 n^2 B T flop, half of it for z times 1."""
    return layer(z, None, None, h0, matrix, activation)[0]


def layer(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, h0: Tensor, matrix: Matrix, activation: Activation,
    offset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """States and last state of a layer; x (T, B, I), weight (n, I), bias (n), a leading K as in run. Without weight x
    is z.
    """
    assert offset is None, "torch's RNN has no modrelu"
    w = dense_transition(matrix)
    if h0.shape[-2] == 0:  # torch's RNN refuses an empty batch
        z = x if weight is None else x.new_zeros(*x.shape[:-1], w.shape[-1])
        states = step_by_step.run(z, h0, w, activation)
        return states, states[..., -1, :, :]
    if weight is None:
        weight = torch.eye(w.shape[-1], dtype=w.dtype, device=w.device).expand_as(w)
    bias = w.new_zeros(w.shape[:-1]) if bias is None else bias
    if x.dim() == 3:
        return _one(x, weight, bias, h0, w, activation)
    trials = [_one(*one, activation) for one in zip(x, weight, bias, h0, w, strict=True)]
    return torch.stack([states for states, _ in trials]), torch.stack([last for _, last in trials])


def _one(
    x: Tensor, weight: Tensor, bias: Tensor, h0: Tensor, w: Tensor, activation: Activation
) -> tuple[Tensor, Tensor]:
    parts = (weight, w, bias, torch.zeros_like(bias))
    laid = one_chunk(parts)
    run_rnn = torch.rnn_tanh if activation.name == "tanh" else torch.rnn_relu
    train = torch.is_grad_enabled()  # cuDNN keeps what backward needs in training mode alone
    states, last = run_rnn(x, h0.unsqueeze(0).contiguous(), laid, True, 1, 0.0, train, False, False)
    return states, last.squeeze(0)


def one_chunk(parts: Sequence[Tensor]) -> list[Tensor]:
    """The same tensors as views of one array, in cuDNN's order: all matrices, then all vectors. Otherwise it copies the
    weights at every call and warns.
    """
    order = sorted(range(len(parts)), key=lambda i: parts[i].dim() == 1)
    pieces = torch.split(torch.cat([parts[i].flatten() for i in order]), [parts[i].numel() for i in order])
    laid = list(parts)
    for i, piece in zip(order, pieces, strict=True):
        laid[i] = piece.view(parts[i].shape)
    return laid

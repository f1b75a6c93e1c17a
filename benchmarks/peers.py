"""The same layer as others compute it: peers form W from the same raw reflectors, or are plain nets of the same size.

A peer is a ``Layer``: its parameters and a function that returns all states (T, B, n) and the last one (B, n).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.service_peer_nets import literal_states
from spectral import SpectralRNN

StepFunction = Callable[[Tensor], tuple[Tensor, Tensor]]


class Layer(NamedTuple):
    """The parameters of a layer, and ``run``, which maps x (T, B, I) to all states (T, B, n) and the last (B, n)."""

    parameters: list[nn.Parameter]
    run: StepFunction


def spectral(net: SpectralRNN, backend: str = "auto") -> Layer:
    """Return this project's layer, with a copy of the parameters so that contenders do not share gradients.

    ``net`` must have one layer with a bias, one direction, sigma = 1 and the spectrum ``sigmoid``, which the copy has.

    The backend ``reference`` is the literal method of the tests, which is written to be read and not to be fast.
    """
    own = SpectralRNN(
        net.input_size,
        net.hidden_size,
        1,
        net.activation.name,
        reflectors=net.slots[0].reflectors,
        margin=net.slots[0].margin,
        backend=backend,
        device=net.weight_ih_l0.device,
        dtype=net.weight_ih_l0.dtype,
    )
    own.load_state_dict(net.state_dict())

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        states, last = own(x)
        return states, last[0]

    return Layer(list(own.parameters()), run)


def elman(net: SpectralRNN) -> Layer:
    """Return torch.nn.RNN with the same W as a free parameter."""
    return plain(net.to_rnn())


def plain(rnn: nn.RNN | nn.LSTM) -> Layer:
    """Return one of torch's own recurrent nets as a layer."""

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        states, last = rnn(x)
        return states, (last[0] if isinstance(last, tuple) else last)[0]

    return Layer(list(rnn.parameters()), run)


def lstm(net: SpectralRNN) -> Layer:
    """Return torch.nn.LSTM of the same hidden size; it has four times the weights and computes another function."""
    like = net.weight_ih_l0
    return plain(nn.LSTM(net.input_size, net.hidden_size, device=like.device, dtype=like.dtype))


Product = Callable[[Tensor], Tensor]
"""A function from raw reflectors (n, m) to the orthogonal matrix Q (n, n)."""


def householder_product(raw: Tensor) -> Tensor:
    """Return Q by torch.linalg.householder_product, which needs unit diagonals (no y_kk = 0) and n columns."""
    n, m = raw.shape
    y = raw.tril()
    y = y / y.diagonal()
    tau = 2 / y.square().sum(0)
    q: Tensor = torch.linalg.householder_product(functional.pad(y, (0, n - m)), tau)
    return q


def wy_merge(raw: Tensor) -> Tensor:
    """Return Q by merging WY blocks in log2(m) levels, each with one batched product (FastH, Mathiasen et al. 2020).

    (I - W1 Y1^T) (I - W2 Y2^T) = I - [W1, W2 - W1 (Y1^T W2)] [Y1, Y2]^T, from m single reflectors up.
    """
    n, m = raw.shape
    y = raw.tril()
    y = y / torch.linalg.vector_norm(y, dim=0)
    y = functional.pad(y, (0, (1 << (m - 1).bit_length()) - m)).mT.unsqueeze(-1)
    w = 2 * y
    while len(w) > 1:
        (w1, w2), (y1, y2) = (w[0::2], w[1::2]), (y[0::2], y[1::2])
        w = torch.cat([w1, w2 - w1 @ (y1.mT @ w2)], -1)
        y = torch.cat([y1, y2], -1)
    return torch.eye(n, dtype=raw.dtype, device=raw.device) - w[0] @ y[0].mT


def package_torch_householder() -> Product | None:
    """Return the product of the package torch-householder, or None if it is not installed.

    The package returns as many columns as there are reflectors. The other columns of Q come from further reflectors
    along the axes, which change the signs of those columns.
    """
    try:
        from torch_householder import torch_householder_orgqr  # type: ignore[import-not-found]
    except ImportError:
        return None

    def product(raw: Tensor) -> Tensor:
        n, m = raw.shape
        eye = torch.eye(n, dtype=raw.dtype, device=raw.device)
        sign = torch.ones_like(raw[:, 0]).index_fill(0, torch.arange(m, n, device=raw.device), -1)
        y = raw.tril()
        found: Tensor = torch_householder_orgqr(torch.cat([y / y.diagonal(), eye[:, m:]], 1)) * sign
        return found

    return product


def products() -> dict[str, Product]:
    """Return every available way to form Q, by name."""
    found: dict[str, Product] = {"householder_product": householder_product, "WY merge": wy_merge}
    package = package_torch_householder()
    return found if package is None else found | {"torch-householder": package}


def dense_transition(product: Product, sigma: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Return W = U diag(sigma) V^T."""
    return (product(u) * sigma) @ product(v).mT


def dense(net: SpectralRNN, product: Product) -> Layer:
    """Return a layer that forms W with ``product`` at every call and runs torch's own recurrence with it.

    ``net`` must be as for ``spectral``, with relu or tanh.
    """
    names = ("weight_ih_l0", "bias_l0", "reflectors_u_l0", "reflectors_v_l0", "singular_l0")
    parameters = [nn.Parameter(getattr(net, name).detach().clone()) for name in names]
    weight, bias, u, v, raw = parameters
    margin, zero = net.slots[0].margin, torch.zeros_like(bias)
    cell = torch.rnn_relu if net.activation.name == "relu" else torch.rnn_tanh

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        sigma = 1 + 2 * margin * (torch.sigmoid(raw) - 0.5)
        w = dense_transition(product, sigma, u, v)
        h0 = x.new_zeros(1, x.shape[1], w.shape[0])
        # arguments: has biases, layers, dropout, training, bidirectional, batch first
        states, last = cell(x, h0, [weight, w, bias, zero], True, 1, 0.0, True, False, False)
        return states, last[0]

    return Layer(parameters, run)


def literal(net: SpectralRNN) -> Layer:
    """Return a relu layer, whatever ``net`` has, that applies every reflector one after another at every time step."""
    names = ("weight_ih_l0", "bias_l0", "reflectors_u_l0", "reflectors_v_l0", "singular_l0")
    parameters = [nn.Parameter(getattr(net, name).detach().clone()) for name in names]
    weight, bias, u, v, raw = parameters
    margin = net.slots[0].margin

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        sigma = 1 + 2 * margin * (torch.sigmoid(raw) - 0.5)
        z = functional.linear(x, weight, bias)
        states = literal_states(z, z.new_zeros(z.shape[1:]), sigma, u, v)
        return torch.stack(states), states[-1]

    return Layer(parameters, run)


def contenders(net: SpectralRNN, backend: str = "auto") -> dict[str, Layer]:
    """Return our layer and all peers by name, ours first."""
    found = {"ours": spectral(net, backend), "nn.RNN": elman(net), "nn.LSTM": lstm(net)}
    found["literal"] = literal(net)
    return found | {f"{name} + nn.RNN": dense(net, product) for name, product in products().items()}


def training_step(layer: Layer, x: Tensor, *, reads: str) -> Callable[[], None]:
    """Return a function that clears the gradients, runs the layer and a loss, and computes all gradients.

    Args:
        layer: The layer.
        x: Input, (T, B, I).
        reads: Whether the loss reads the ``last`` state or ``all`` states.
    """

    def step() -> None:
        for parameter in layer.parameters:
            parameter.grad = None
        states, last = layer.run(x)
        loss = (last if reads == "last" else states).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]

    return step

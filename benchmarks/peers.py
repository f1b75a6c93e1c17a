"""The same layer as others compute it: each makes W from the same raw reflectors, or is a plain net of the same size.

A peer is (parameters, run): run(x) gives all states (T, B, n) and the last one (B, n).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.service_peer_nets import literal_states
from spectral import SpectralRNN

Run = Callable[[Tensor], tuple[Tensor, Tensor]]


class Layer(NamedTuple):
    """What a training step needs to know."""

    parameters: list[nn.Parameter]
    run: Run


def spectral(net: SpectralRNN, backend: str = "auto") -> Layer:
    """This project's layer; with backend "reference" the literal method as our tests know it, written to be read.

    The parameters are its own, so that contenders do not share gradients.
    """
    own = SpectralRNN(
        net.input_size, net.hidden_size, 1, net.activation.name, reflectors=net.slots[0].reflectors,
        margin=net.slots[0].margin, backend=backend, device=net.weight_ih_l0.device, dtype=net.weight_ih_l0.dtype,
    )  # fmt: skip
    own.load_state_dict(net.state_dict())

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        states, last = own(x)
        return states, last[0]

    return Layer(list(own.parameters()), run)


def elman(net: SpectralRNN) -> Layer:
    """torch.nn.RNN with the same W as a free parameter."""
    return plain(net.to_rnn())


def plain(rnn: nn.RNN | nn.LSTM) -> Layer:
    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        states, last = rnn(x)
        return states, (last[0] if isinstance(last, tuple) else last)[0]

    return Layer(list(rnn.parameters()), run)


def lstm(net: SpectralRNN) -> Layer:
    """torch.nn.LSTM of the same hidden size: four times the weights, and another function."""
    like = net.weight_ih_l0
    return plain(nn.LSTM(net.input_size, net.hidden_size, device=like.device, dtype=like.dtype))


Product = Callable[[Tensor], Tensor]
"""Raw reflectors (n, m) -> the orthogonal matrix Q (n, n)."""


def householder_product(raw: Tensor) -> Tensor:
    """torch.linalg.householder_product: wants unit diagonals (no y_kk may be zero) and n columns to give all of Q."""
    n, m = raw.shape
    y = raw.tril()
    y = y / y.diagonal()
    tau = 2 / y.square().sum(0)
    q: Tensor = torch.linalg.householder_product(functional.pad(y, (0, n - m)), tau)
    return q


def wy_merge(raw: Tensor) -> Tensor:
    """Log-depth merge of WY blocks, the idea of FastH (Mathiasen et al. 2020): a level's pairs in one batched product.

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
    """The package torch-householder, where it is installed.

    It gives as many columns as there are reflectors. The rest of Q comes from further ones along the axes, which turn
    those columns' signs.
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
    """Every way of making Q that is there."""
    found: dict[str, Product] = {"householder_product": householder_product, "WY merge": wy_merge}
    package = package_torch_householder()
    return found if package is None else found | {"torch-householder": package}


def dense_transition(product: Product, sigma: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """W = U diag(sigma) V^T."""
    return (product(u) * sigma) @ product(v).mT


def dense(net: SpectralRNN, product: Product) -> Layer:
    """W from raw reflectors by ``product`` at every training step, then torch's own recurrence over it."""
    names = ("weight_ih_l0", "bias_l0", "reflectors_u_l0", "reflectors_v_l0", "singular_l0")
    parameters = [nn.Parameter(getattr(net, name).detach().clone()) for name in names]
    weight, bias, u, v, raw = parameters
    margin, zero = net.slots[0].margin, torch.zeros_like(bias)
    cell = torch.rnn_relu if net.activation.name == "relu" else torch.rnn_tanh

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        sigma = 1 + 2 * margin * (torch.sigmoid(raw) - 0.5)
        w = dense_transition(product, sigma, u, v)
        h0 = x.new_zeros(1, x.shape[1], w.shape[0])
        # biases, layers, dropout, training, both ways, batch first
        states, last = cell(x, h0, [weight, w, bias, zero], True, 1, 0.0, True, False, False)
        return states, last[0]

    return Layer(parameters, run)


def literal(net: SpectralRNN) -> Layer:
    """Every reflector one after another at every step, in as few torch calls as that takes; relu."""
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
    """All of them, ours first."""
    found = {"ours": spectral(net, backend), "nn.RNN": elman(net), "nn.LSTM": lstm(net)}
    found["literal"] = literal(net)
    return found | {f"{name} + nn.RNN": dense(net, product) for name, product in products().items()}


def training_step(layer: Layer, x: Tensor, *, reads: str) -> Callable[[], None]:
    """Gradients cleared, forward, loss, backward to all raw parameters. reads: "last" state, or "all" states."""

    def step() -> None:
        for parameter in layer.parameters:
            parameter.grad = None
        states, last = layer.run(x)
        loss = (last if reads == "last" else states).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]

    return step

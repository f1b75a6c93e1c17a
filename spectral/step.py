"""Recurrent networks one time step at a time, for serving: frozen matrices in a few operations of torch.

A step of a small network takes as long as its calls, not as its arithmetic. So the modules here make few calls, hold
their matrices transposed, and read them from the dictionary of buffers: ``nn.Module`` looks for a buffer only after the
ordinary look-up of an attribute has failed, which costs as much as a small product. TorchScript has no such dictionary
and no such cost, so there they are attributes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]

from spectral.errors import ShapeError
from spectral.transition import Factors


class LayerStep(nn.Module):
    """Base of RNNStep, LSTMStep and GRUStep: the matrices of one layer, as buffers, and their products.

    Args:
        weight_ih: W_ih, shape (G n, I), where G is 1 for an RNN.
        bias: Shape (G n,), or None.
        matrix: W_hh (G n, width of h), or the factors of its gates: sigma (G, n), A (G, n, r) and C (G, n, r).
    """

    if TYPE_CHECKING:  # TorchScript would take "or None" at its word, where it can see now which of the two it is
        weight_ih: Tensor
        bias: Tensor
        weight_hh: Tensor | None
        sigma: Tensor
        a: Tensor
        c: Tensor

    def __init__(self, weight_ih: Tensor, bias: Tensor | None, matrix: Factors | Tensor) -> None:
        super().__init__()
        rows, self.input_size = weight_ih.shape
        self.register_buffer("weight_ih", _transposed(weight_ih))
        self.register_buffer("bias", weight_ih.new_zeros(rows) if bias is None else bias.detach().clone())
        weight_hh = sigma = a = c = None
        self.gates, self.rank = 1, 0
        if isinstance(matrix, Tensor):
            self.output_size = matrix.shape[1]
            weight_hh = _transposed(matrix)
        else:
            self.gates, self.output_size, self.rank = matrix.a.shape
            sigma, a = matrix.sigma.detach().unsqueeze(1).clone(), _transposed(matrix.a)
            c = matrix.c.detach().movedim(1, 0).flatten(1).contiguous()
            if self.gates == 1:
                sigma, a = sigma[0, 0], a[0]
        for name, value in (("weight_hh", weight_hh), ("sigma", sigma), ("a", a), ("c", c)):
            self.register_buffer(name, value)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows in brackets."""
        return f"{self.input_size}, {self.output_size}, dense={self.weight_hh is not None}"

    def _preactivation(self, x: Tensor, h: Tensor) -> Tensor:
        """Return W_ih x + b + W_hh h of all gates, shape (B, G n), a new tensor."""
        if is_scripting():
            weight_ih, weight_hh, bias = self.weight_ih, self.weight_hh, self.bias
        else:
            buffers: Any = self._buffers
            weight_ih, weight_hh, bias = buffers["weight_ih"], buffers["weight_hh"], buffers["bias"]
        z = torch.mm(h, weight_hh) if weight_hh is not None else self._of_factors(h)
        return z.addmm_(x, weight_ih).add_(bias)

    def _of_factors(self, h: Tensor) -> Tensor:
        """Return W_hh h of all gates, shape (B, G n), a new tensor, where W_hh is held as factors."""
        if is_scripting():
            sigma, a, c = self.sigma, self.a, self.c
        else:
            buffers: Any = self._buffers
            sigma, a, c = buffers["sigma"], buffers["a"], buffers["c"]
        inner = torch.mm(h, c)
        if self.gates == 1:
            return torch.mm(inner, a).addcmul_(h, sigma)
        inner = inner.view(h.shape[0], self.gates, self.rank).transpose(0, 1)
        return torch.baddbmm(h * sigma, inner, a).transpose(0, 1).flatten(1)


class RNNStep(LayerStep):
    """One layer of an Elman RNN: h_t = phi(W_ih x_t + b + W_hh h_{t-1}).

    Args:
        weight_ih: W_ih, shape (n, I).
        bias: Shape (n,), or None.
        matrix: W_hh, shape (n, n), or its factors with G = 1.
        nonlinearity: phi, one of those of SpectralRNN.
        negative_slope: The slope of leaky_relu below zero.
        offset: The offset of modrelu, shape (n,); None for the others.
    """

    if TYPE_CHECKING:
        offset: Tensor | None

    def __init__(
        self,
        weight_ih: Tensor,
        bias: Tensor | None,
        matrix: Factors | Tensor,
        *,
        nonlinearity: str,
        negative_slope: float = 0.01,
        offset: Tensor | None = None,
    ) -> None:
        super().__init__(weight_ih, bias, matrix)
        self.nonlinearity, self.negative_slope = nonlinearity, negative_slope
        self.register_buffer("offset", None if offset is None else offset.detach().clone())

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the output and the state after one step, which are one tensor, shape (B, n).

        Args:
            input: x_t, shape (B, I).
            hx: h_{t-1}, shape (B, n); None is zeros.

        Raises:
            ShapeError: If a shape does not fit. A scripted module raises torch's errors instead.
        """
        if hx is None:
            hx = input.new_zeros(input.shape[0], self.output_size)
        if not is_scripting():
            check(input, self.input_size, "hx", hx, self.output_size)
        h = self._activation(self._preactivation(input, hx))
        return h, h

    def _activation(self, z: Tensor) -> Tensor:
        """Return phi(z); z may be overwritten."""
        if self.nonlinearity == "tanh":
            return z.tanh_()
        if self.nonlinearity == "relu":
            return z.relu_()
        if self.nonlinearity == "leaky_relu":
            return nn.functional.leaky_relu(z, self.negative_slope)
        if self.offset is not None:
            return torch.sign(z) * torch.relu(z.abs() + self.offset)
        return z


class LSTMStep(LayerStep):
    """One layer of an LSTM. Its state is the pair (h, c).

    Args:
        weight_ih: W_ih, shape (4 n, I), with the gates in torch's order.
        bias: Shape (4 n,), or None.
        matrix: W_hh, shape (4 n, n), or (4 n, p) with a projection, or its factors with G = 4.
        weight_hr: W_hr of a projection, shape (p, n); None without one.
    """

    if TYPE_CHECKING:
        weight_hr: Tensor | None

    def __init__(
        self, weight_ih: Tensor, bias: Tensor | None, matrix: Factors | Tensor, *, weight_hr: Tensor | None = None
    ) -> None:
        super().__init__(weight_ih, bias, matrix)
        self.hidden_size = weight_ih.shape[0] // 4
        self.projects = weight_hr is not None
        self.register_buffer("weight_hr", None if weight_hr is None else _transposed(weight_hr))

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the output, and the states (h, c) after one step; the output is h.

        Args:
            input: x_t, shape (B, I).
            hx: The states before, h (B, n), or (B, p) with a projection, and c (B, n); None is zeros for both.

        Raises:
            ShapeError: If a shape does not fit. A scripted module raises torch's errors instead.
        """
        if hx is None:
            h = input.new_zeros(input.shape[0], self.output_size)
            c = input.new_zeros(input.shape[0], self.hidden_size)
        else:
            h, c = hx
        if not is_scripting():
            check(input, self.input_size, "h", h, self.output_size)
            check(input, self.input_size, "c", c, self.hidden_size)
        i, f, g, o = self._preactivation(input, h).chunk(4, 1)
        c = torch.mul(torch.sigmoid(f), c).addcmul_(torch.sigmoid(i), torch.tanh(g))
        h = torch.sigmoid(o) * torch.tanh(c)
        if self.projects and self.weight_hr is not None:
            h = torch.mm(h, self.weight_hr)
        return h, (h, c)


class GRUStep(LayerStep):
    """One layer of a GRU.

    Args:
        weight_ih: W_ih, shape (3 n, I), with the gates in torch's order.
        bias: b_ih, shape (3 n,), or None.
        matrix: W_hh, shape (3 n, n), or its factors with G = 3.
        bias_hh: b_hh, shape (3 n,), or None.
    """

    if TYPE_CHECKING:
        bias_hh: Tensor

    def __init__(
        self, weight_ih: Tensor, bias: Tensor | None, matrix: Factors | Tensor, *, bias_hh: Tensor | None = None
    ) -> None:
        super().__init__(weight_ih, bias, matrix)
        self.register_buffer("bias_hh", torch.zeros_like(self.bias) if bias_hh is None else bias_hh.detach().clone())

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the output and the state after one step; arguments and errors are those of ``RNNStep.forward``."""
        if hx is None:
            hx = input.new_zeros(input.shape[0], self.output_size)
        if not is_scripting():
            check(input, self.input_size, "hx", hx, self.output_size)
        if is_scripting():
            weight_ih, weight_hh, bias_ih, bias_hh = self.weight_ih, self.weight_hh, self.bias, self.bias_hh
        else:
            buffers: Any = self._buffers
            weight_ih, weight_hh = buffers["weight_ih"], buffers["weight_hh"]
            bias_ih, bias_hh = buffers["bias"], buffers["bias_hh"]
        of_state = torch.mm(hx, weight_hh) if weight_hh is not None else self._of_factors(hx)
        sizes = [2 * self.output_size, self.output_size]
        input_rz, input_n = torch.mm(input, weight_ih).add_(bias_ih).split_with_sizes(sizes, 1)
        state_rz, state_n = of_state.add_(bias_hh).split_with_sizes(sizes, 1)
        r, z = torch.sigmoid(input_rz + state_rz).chunk(2, 1)
        h = torch.lerp(torch.tanh(torch.addcmul(input_n, r, state_n)), hx, z)
        return h, h


class StackedStep(nn.Module):
    """Several layers of RNNStep or GRUStep, one upon another."""

    def __init__(self, layers: Sequence[RNNStep | GRUStep]) -> None:
        super().__init__()
        self.layers, self.num_layers = nn.ModuleList(layers), len(layers)
        self.input_size, self.output_size = layers[0].input_size, layers[0].output_size

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the output of the top layer, (B, n), and the states of all layers after one step.

        Args:
            input: x_t, shape (B, I).
            hx: The states before, those of all layers side by side, the lowest first: (B, layers * n). None is zeros.

        Raises:
            ShapeError: If a shape does not fit. A scripted module raises torch's errors instead.
        """
        if hx is None:
            hx = input.new_zeros(input.shape[0], self.num_layers * self.output_size)
        if not is_scripting():
            check(input, self.input_size, "hx", hx, self.num_layers * self.output_size)
        before = hx.chunk(self.num_layers, 1)
        after: list[Tensor] = []
        for k, layer in enumerate(self.layers):
            input, h = layer(input, before[k])
            after.append(h)
        return input, torch.cat(after, 1)


class StackedLSTMStep(nn.Module):
    """Several layers of LSTMStep, one upon another."""

    def __init__(self, layers: Sequence[LSTMStep]) -> None:
        super().__init__()
        self.layers, self.num_layers = nn.ModuleList(layers), len(layers)
        self.input_size, self.output_size = layers[0].input_size, layers[0].output_size
        self.hidden_size = layers[0].hidden_size

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the output of the top layer, and the states (h, c) of all layers after one step.

        Args:
            input: x_t, shape (B, I).
            hx: The states before, each with those of all layers side by side, the lowest first: h (B, layers * n), or
                (B, layers * p) with a projection, and c (B, layers * n). None is zeros for both.

        Raises:
            ShapeError: If a shape does not fit. A scripted module raises torch's errors instead.
        """
        if hx is None:
            h = input.new_zeros(input.shape[0], self.num_layers * self.output_size)
            c = input.new_zeros(input.shape[0], self.num_layers * self.hidden_size)
        else:
            h, c = hx
        if not is_scripting():
            check(input, self.input_size, "h", h, self.num_layers * self.output_size)
            check(input, self.input_size, "c", c, self.num_layers * self.hidden_size)
        all_h, all_c = h.chunk(self.num_layers, 1), c.chunk(self.num_layers, 1)
        after_h: list[Tensor] = []
        after_c: list[Tensor] = []
        for k, layer in enumerate(self.layers):
            input, (h, c) = layer(input, (all_h[k], all_c[k]))
            after_h.append(h)
            after_c.append(c)
        return input, (torch.cat(after_h, 1), torch.cat(after_c, 1))


def check(x: Tensor, size: int, name: str, state: Tensor, width: int) -> None:
    """Raise ShapeError unless ``x`` is one step of a batch, (B, size), and a state, called ``name``, is (B, width)."""
    if x.shape[1:] != (size,):
        raise ShapeError(f"input must be one step of a batch, of shape (B, {size}); found {tuple(x.shape)}")
    if state.shape != (x.shape[0], width):
        raise ShapeError(
            f"{name} must have shape {(x.shape[0], width)}: a row for each sequence of the batch, with the states of "
            f"all layers side by side; found {tuple(state.shape)}"
        )


def _transposed(weight: Tensor) -> Tensor:
    """Return a contiguous copy of a matrix, or of a batch of them, with rows and columns exchanged."""
    return weight.detach().mT.clone(memory_format=torch.contiguous_format)

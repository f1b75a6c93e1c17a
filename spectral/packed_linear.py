"""PackedLinear: K linear layers of one shape in one module."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from spectral.errors import PackError, ShapeError
from spectral.stacking import check_trial, stack_trials


def linear_of_trials(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return x W^T + b for each trial.

    Args:
        x: Shape (K, ..., I).
        weight: W, shape (K, O, I).
        bias: b, shape (K, O), or None.

    Returns:
        Shape (K, ..., O).
    """
    rows = x.flatten(1, -2) if x.dim() > 2 else x.unsqueeze(1)
    outputs, inputs = weight.shape[-2:]
    if rows.device.type == "cpu" and (inputs == 1 or outputs == 1):
        # torch multiplies matrices with one row or column by other code for one trial than for several, with other
        # rounding. A second row or column of zeros changes no sum, and is multiplied alike for any number of trials.
        rows, weight = pad(rows, (0, int(inputs == 1))), pad(weight, (0, int(inputs == 1), 0, int(outputs == 1)))
        bias = None if bias is None else pad(bias, (0, int(outputs == 1)))
    out = torch.bmm(rows, weight.mT) if bias is None else torch.baddbmm(bias.unsqueeze(1), rows, weight.mT)
    return out[..., :outputs].reshape(*x.shape[:-1], outputs)


class PackedLinear(nn.Module):
    """Applies K linear layers of one shape, each to its slice of x: (K, ..., in) -> (K, ..., out).

    The parameters are ``weight`` (K, out, in) and ``bias`` (K, out) or None. They start as in ``torch.nn.Linear``, from
    U(-1/sqrt(in), 1/sqrt(in)), drawn from ``generator``, which must be on the device of the parameters; None is
    torch's default generator there.

    Raises:
        PackError: If ``trials`` is below 1.
    """

    def __init__(
        self,
        trials: int,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if trials < 1:
            raise PackError(f"a pack needs at least one trial; found {trials}")
        self.trials, self.in_features, self.out_features = trials, in_features, out_features
        self.weight = nn.Parameter(torch.empty(trials, out_features, in_features, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(trials, out_features, device=device, dtype=dtype)) if bias else None
        bound = 1 / math.sqrt(in_features) if in_features else 0.0
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return x[k] W_k^T + b_k for each trial k.

        Args:
            x: Shape (K, ..., in).

        Returns:
            Shape (K, ..., out).

        Raises:
            ShapeError: If x has another shape.
        """
        if x.dim() < 2 or x.shape[0] != self.trials or x.shape[-1] != self.in_features:
            raise ShapeError(f"x must have shape ({self.trials}, ..., {self.in_features}); found {tuple(x.shape)}")
        return linear_of_trials(x, self.weight, self.bias)

    @classmethod
    def pack(cls, layers: Sequence[nn.Linear]) -> "PackedLinear":
        """Make a pack of separately built layers; values are copied.

        The pack is in training or evaluation mode as the first layer is, and all its parameters require gradients.

        Raises:
            PackError: If there are no layers, or if they differ in shape, in having a bias, in dtype or in device.
        """
        if not layers:
            raise PackError("a pack needs at least one trial; found none")
        kinds = {(tuple(layer.weight.shape), layer.bias is not None) for layer in layers}
        if len(kinds) > 1:
            raise PackError(
                "linear layers of a pack must agree in shape and in having a bias; "
                f"found (shape of weight, has a bias): {sorted(kinds)}"
            )
        first = layers[0]
        packed = cls(len(layers), first.in_features, first.out_features, first.bias is not None, device="meta")
        packed.weight = nn.Parameter(stack_trials([layer.weight.detach() for layer in layers]))
        if packed.bias is not None:
            packed.bias = nn.Parameter(stack_trials([layer.bias.detach() for layer in layers]))
        return packed.train(first.training)

    def trial(self, k: int) -> nn.Linear:
        """Return trial k as a plain ``torch.nn.Linear``; values are copied.

        Raises:
            PackError: If k does not lie in [0, trials); a negative k does not count from the end.
        """
        check_trial(k, self.trials)
        layer = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        layer.weight = nn.Parameter(self.weight.detach()[k].clone())
        if self.bias is not None:
            layer.bias = nn.Parameter(self.bias.detach()[k].clone())
        return layer.train(self.training)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows in brackets: the sizes and whether there is a bias."""
        return (
            f"trials={self.trials}, in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )

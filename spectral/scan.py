"""A whole sequence by a step module, in a loop that exported programs keep as a loop."""

from typing import Any

from torch import Tensor, nn
from torch._higher_order_ops.scan import scan


class ScannedStep(nn.Module):
    """Runs what ``to_step`` returns over a whole sequence, for ``torch.export`` and ONNX.

    The exported program takes sequences of any length, since it holds one step in a loop: in ONNX the operator Scan.
    torch's own recurrent modules are unrolled instead, or fixed to a length. In Python, the module itself is faster.

    Args:
        step: What ``to_step`` returns.
    """

    def __init__(self, step: nn.Module) -> None:
        super().__init__()
        self.step = step

    def forward(self, input: Tensor, hx: Any) -> tuple[Tensor, Any]:
        """Return the output of every step, (T, B, width of h), and the state after the last one.

        Args:
            input: Shape (T, B, input_size), with T >= 1.
            hx: The state before the first step, in the shape in which the step takes it; zeros at the start of a
                sequence.
        """
        hx, output = scan(self._scanned, hx, input)
        return output, hx

    def _scanned(self, hx: Any, x: Tensor) -> tuple[Any, Tensor]:
        """Return the state after a step and its output, as ``scan`` takes them: tensors that share no memory."""
        output, after = self.step(x, hx)
        return (tuple(state.clone() for state in after) if isinstance(after, tuple) else after.clone()), output.clone()

"""A guard for backward passes that are written by hand and cannot themselves be differentiated."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable as _without_graph


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a ``backward`` so that it raises RuntimeError under ``create_graph=True``.

    ``torch.autograd.function.once_differentiable`` raises only if the incoming gradient itself requires a gradient. For
    a constant one, torch would silently return a second derivative from which this function's part is missing.
    """
    run = _without_graph(backward)

    @functools.wraps(backward)
    def checked(ctx: Any, *gradients: Any) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "create_graph=True asks for a second derivative, which this function does not have: its backward pass "
                "is written by hand. Leave create_graph out, or leave checkpoint_every out and use backend='dense' or "
                "'reference'"
            )
        return run(ctx, *gradients)

    return checked

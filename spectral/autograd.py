"""Backwards written by hand, which can be differentiated once."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable as _without_graph


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """As torch's, but refuses where torch's is silent: with a constant gradient coming in, a graph made of this one
    would lack its part of a second derivative without a word. Raises RuntimeError under create_graph=True.
    """
    run = _without_graph(backward)

    @functools.wraps(backward)
    def checked(ctx: Any, *gradients: Any) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "this can be differentiated once, and create_graph=True asks for more; leave it out, or use "
                "backend='reference' with a spectrum other than 'clip'"
            )
        return run(ctx, *gradients)

    return checked

"""Operators: steps that torch's compiler, exporter and transforms see as one node, with kernels and gradients of ours.

They are registered with ``torch.library`` in a namespace named after this package: ``torch.ops.spectral.native``, for
example. A tensor of an operator has its own dimensions, or all tensors have a leading trial axis K: that is what
``torch.vmap`` adds. An optional result that is absent is a tensor of shape (0,).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from spectral.autocast import autocast_is_on, autocast_switched_off, without_autocast

NAMESPACE = __name__.rpartition(".")[0].replace(".", "_")
"""``spectral``; another name where this package is a copy inside another one, so that two copies do not collide."""
LIBRARY: Any = torch.library.Library(NAMESPACE, "FRAGMENT")  # type: ignore[no-untyped-call]
DEVICES = ("CPU", "CUDA")


class Operator:
    """An operator that is called as a function: ``run`` in plain eager code, else a node that torch's tools know.

    Args:
        schema: Name, arguments and results, in the language of ``torch.library``; all arguments are positional.
        run: The kernel. It gets no gradients recorded, and returns tensors that share no memory with its arguments.
        dims: For each argument the number of its dimensions without a trial axis; 0 if it is no tensor.
        fake: Takes the same arguments and returns empty tensors with the shapes and strides of what ``run`` returns.
            None if ``run`` is made of torch's own operators, which can say so themselves.
        setup: (ctx, inputs, output): keeps for backward what it needs, as ``setup_context`` of an autograd.Function.
        backward: (ctx, *gradients) -> the gradient of each argument, None for those that have none. The gradient of a
            result is None if the loss does not read it.
        kept: How many results, the last ones, are there for ``setup`` alone. They have no gradient, and a call may
            leave them out.
        plain: A function of the same arguments and results, made of torch's own operators. It gives the operator all
            derivatives that ``backward`` does not: those in forward mode, and all of them if there is no ``backward``.
            None if there are none; asking for one is then an error that says ``refusal``.
        refusal: What the operator cannot do and what can, as a sentence; needed without ``plain``.
    """

    def __init__(
        self,
        schema: str,
        run: Callable[..., Any],
        dims: Sequence[int],
        *,
        fake: Callable[..., Any] | None = None,
        setup: Callable[..., None] | None = None,
        backward: Callable[..., Any] | None = None,
        kept: int = 0,
        plain: Callable[..., Any] | None = None,
        refusal: str = "",
    ) -> None:
        self.name = schema.partition("(")[0]
        self.run, self.plain, self.refusal, self.dims, self.kept = run, plain, refusal, tuple(dims), kept
        derived = setup is None or backward is None
        self.setup: Callable[..., None] = self._keep_all if setup is None or derived else setup
        self.backward: Callable[..., Any] = self._backward_of_plain if backward is None or derived else backward
        self.inline = fake is None
        """Whether ``run`` is made of torch's own operators, which a compiler can fuse with what stands around them."""
        LIBRARY.define(schema)
        for device in DEVICES:
            LIBRARY.impl(self.name, run, device)
        qualified = f"{NAMESPACE}::{self.name}"
        torch.library.register_fake(qualified, fake or run, lib=LIBRARY)
        torch.library.register_autograd(qualified, self._backward, setup_context=self._setup, lib=LIBRARY)
        torch.library.register_vmap(qualified, self._vmap, lib=LIBRARY)
        for device in DEVICES:
            torch.library.register_autocast(qualified, device.lower(), torch.float32, lib=LIBRARY)
        self.overload = getattr(getattr(torch.ops, NAMESPACE), self.name).default
        """The registered operator."""
        self._eager = type(f"{self.name}_eager", (torch.autograd.Function,), self._eager_methods())
        self._transformed = type(f"{self.name}_transformed", (torch.autograd.Function,), self._transformed_methods())

    def __call__(self, *args: Any) -> Any:
        """Return what ``run`` does, in a way that the present mode of torch can follow, and without autocast."""
        if torch.compiler.is_compiling():
            return self._compiled(*args)
        if autocast_is_on(args[0].device if isinstance(args[0], Tensor) else args[2].device):
            return self._without_autocast(*args)  # a backward pass may be called inside it
        if is_transformed():
            if self.plain is not None and in_forward_mode():
                return self.plain(*args)
            return self._transformed.apply(*args)  # type: ignore[attr-defined]
        if torch._C._is_tracing() or not is_plain_eager(args):  # tracing by torch.jit.trace
            return self.overload(*args)
        # The same as the registered operator with less overhead, which counts where a step takes a millisecond.
        if torch.is_grad_enabled() and _any_requires_grad(args):
            return self._eager.apply(*args)  # type: ignore[attr-defined]
        return self.run(*args)

    def _run_below(self, *args: Any) -> Any:
        """Return the results without a gradient and without transforms."""
        return self.run(*args) if is_plain_eager(args) else self.overload(*args)

    def _compiled(self, *args: Any) -> Any:
        """Call the registered operator, or let the compiler see and fuse the steps that ``run`` consists of."""
        if not self.inline or torch.compiler.is_exporting():
            return self.overload(*args)
        # Autocast is switched off even if it is off here: a backward pass is traced in this place, but compiled under
        # the autocast in which the compiled function is called.
        with autocast_switched_off(next(arg.device for arg in args if isinstance(arg, Tensor))):
            if torch.is_grad_enabled() and _any_requires_grad(args):
                return self._eager.apply(*args)  # type: ignore[attr-defined]
            return self.run(*args)

    def _without_autocast(self, *args: Any) -> Any:
        """Call this operator with autocast off."""
        with without_autocast(next(arg.device for arg in args if isinstance(arg, Tensor))):
            return self(*args)

    def _eager_methods(self) -> dict[str, Any]:
        """Return the methods of an autograd.Function for eager code without transforms."""

        def forward(ctx: Any, *args: Any) -> Any:
            output = self.run(*args)
            self.setup(ctx, args, output)
            ctx.set_materialize_grads(False)
            return output[: -self.kept] if self.kept else output

        return {"forward": staticmethod(forward), "backward": staticmethod(self.backward)}

    def _transformed_methods(self) -> dict[str, Any]:
        """Return the methods of an autograd.Function that ``torch.func`` can transform."""

        def jvp(ctx: Any, *tangents: Any) -> Any:
            raise NotImplementedError(f"{self.name} has no derivative in forward mode. {self.refusal}")

        return {
            "forward": staticmethod(self._run_below),
            "setup_context": staticmethod(self._setup),
            "backward": staticmethod(self._backward),
            "vmap": staticmethod(self._vmap),
            "jvp": staticmethod(jvp),
        }

    def _setup(self, ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Do what ``setup`` does, where all results are returned."""
        self.setup(ctx, inputs, output)
        ctx.set_materialize_grads(False)
        if self.kept:
            ctx.mark_non_differentiable(*output[-self.kept :])

    def _backward(self, ctx: Any, *gradients: Tensor | None) -> Any:
        """Do what ``backward`` does, where all results are returned."""
        return self.backward(ctx, *gradients[: len(gradients) - self.kept])

    def _vmap(self, info: Any, in_dims: Sequence[int | None], *args: Any) -> tuple[Any, Any]:
        """Return the results over a new axis, and where it lies: it becomes the trial axis, or is merged with it."""
        pairs = list(zip(args, in_dims, self.dims, strict=True))
        is_pack = any(isinstance(arg, Tensor) and arg.dim() - (at is not None) > own for arg, at, own in pairs)

        def merge(arg: Any, at: int | None) -> Any:
            if not isinstance(arg, Tensor):
                return arg
            front = arg.expand(info.batch_size, *arg.shape) if at is None else arg.movedim(at, 0)
            return front.flatten(0, 1) if is_pack else front

        # ``setup`` reads all results, of which a plain call may leave some out.
        all_results = self._transformed.apply if is_transformed() else self.overload  # type: ignore[attr-defined]
        results = all_results(*(merge(arg, at) for arg, at, _ in pairs))
        several = isinstance(results, tuple)
        outputs, places = [], []
        for result in results if several else (results,):
            absent = result.shape == (0,)
            outputs.append(result if absent or not is_pack else result.unflatten(0, (info.batch_size, -1)))
            places.append(None if absent else 0)
        return (tuple(outputs), tuple(places)) if several else (outputs[0], places[0])

    @staticmethod
    def _keep_all(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep all arguments for ``_backward_of_plain``."""
        ctx.others = [None if isinstance(arg, Tensor) else arg for arg in inputs]
        ctx.places = [i for i, arg in enumerate(inputs) if isinstance(arg, Tensor)]
        ctx.save_for_backward(*(inputs[i] for i in ctx.places))

    def _backward_of_plain(self, ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """Differentiate ``plain``, which computes the results again."""
        if self.plain is None:
            raise NotImplementedError(f"{self.name} has no derivative. {self.refusal}")
        needed = [i for i in ctx.places if ctx.needs_input_grad[i]]
        values = dict(zip(ctx.places, ctx.saved_tensors, strict=True))
        used = [k for k, gradient in enumerate(gradients) if gradient is not None]
        if not used:
            return (None,) * len(ctx.others)

        def function(*leaves: Tensor) -> tuple[Tensor, ...]:
            now = {**values, **dict(zip(needed, leaves, strict=True))}
            assert self.plain is not None
            results = self.plain(*(now.get(i, other) for i, other in enumerate(ctx.others)))
            return tuple((results if isinstance(results, tuple) else (results,))[k] for k in used)

        pull = torch.func.vjp(function, *(values[i] for i in needed))[1]
        found = dict(zip(needed, pull(tuple(gradients[k] for k in used)), strict=True))
        return tuple(found.get(i) for i in range(len(ctx.others)))


def in_forward_mode() -> bool:
    """Return whether derivatives in forward mode may be taken here, as by ``torch.func.jvp``."""
    return bool(forward_ad._current_level >= 0)


def is_transformed() -> bool:
    """Return whether a transform of ``torch.func`` is at work here, or derivatives in forward mode."""
    return in_forward_mode() or bool(torch._C._are_functorch_transforms_active())


def absent(like: Tensor) -> Tensor:
    """Return the tensor of shape (0,) that stands for an optional result that is absent."""
    return like.new_empty(0)


def present(result: Tensor) -> Tensor | None:
    """Return None for what ``absent`` returns, else the result."""
    return None if result.shape == (0,) else result


def is_batched(tensor: Tensor) -> bool:
    """Return whether ``torch.vmap`` has added an axis to a tensor that its shape does not show."""
    functorch = torch._C._functorch
    while not torch.compiler.is_compiling() and functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return True
        tensor = functorch.get_unwrapped(tensor)
    return False


def _any_requires_grad(args: Sequence[Any]) -> bool:
    """Return whether a tensor among the arguments requires its gradient."""
    for arg in args:  # noqa: SIM110  any() over a generator takes three times as long
        if isinstance(arg, Tensor) and arg.requires_grad:
            return True
    return False


def is_plain_eager(args: Sequence[Any]) -> bool:
    """Return whether all tensors have values and no behaviour of their own, and nothing else watches what is called."""
    if torch._C._len_torch_dispatch_stack():
        return False
    for arg in args:
        # torch.func.vjp leaves tensors behind that are mere covers of others.
        if isinstance(arg, Tensor) and (
            type(arg) not in _ORDINARY
            or arg.is_meta
            or torch._C._functorch.is_functorch_wrapped_tensor(arg)
            # torch.autograd.grad(..., is_grads_batched=True) batches in torch's older way.
            or torch._C._functorch.is_legacy_batchedtensor(arg)
        ):
            return False
    return True


_ORDINARY = (Tensor, torch.nn.Parameter)

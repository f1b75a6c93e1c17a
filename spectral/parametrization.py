"""A weight of any torch module held as U diag(sigma) V^T, through torch.nn.utils.parametrize."""

import weakref
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize as torch_parametrize

from spectral import init
from spectral.errors import BandError, OptionError, ReflectorCountError, ShapeError
from spectral.singular_values import Spectrum
from spectral.svd import SVD

WeightInitName = Literal["gaussian", "identity", "henaff", "cayley", "weight"]
STARTS: tuple[str, ...] = get_args(WeightInitName)
GATES: dict[type[nn.Module], int] = {nn.LSTM: 4, nn.LSTMCell: 4, nn.GRU: 3, nn.GRUCell: 3}
"""Blocks of rows in the weights of torch's gated modules."""
AnyModule = TypeVar("AnyModule", bound=nn.Module)


def parametrize(
    module: AnyModule,
    name: str = "weight",
    *,
    reflectors: int | tuple[int, int] | None = None,
    margin: float = 0.01,
    sigma: float = 1.0,
    spectrum: Spectrum = "sigmoid",
    start: WeightInitName = "gaussian",
    gates: bool = False,
    generator: torch.Generator | None = None,
) -> AnyModule:
    """Replaces parameter `name` of the module, in place, by reflectors and singular values; returns the module.

    The weight is seen as a matrix: its first dimension against all others, so out x (in k k) for a convolution. Of an
    LSTM or GRU it is all gates together, (G n, n_i), one reduced SVD as in Zhang et al. 2018, or with `gates` one SVD
    for each gate. `reflectors`, `margin`, `sigma`, `spectrum` as in SVD: None is the full number, which reaches every
    matrix. `start`: "weight" begins from the weight that is there, which must then fit the band and the number of
    reflectors; the others are those of SVD, drawn from `generator` (identity, henaff, cayley: square matrices).

    What follows is torch's: `module.weight` forms the matrix (2 rows cols (m1 + m2) flop each time it is read;
    `torch.nn.utils.parametrize.cached()` keeps it), assigning to it takes the values that give it, and
    `remove_parametrizations` leaves the plain weight. `module.parametrizations.weight[0].svd` is the SVD, with
    `normalize_()`, `singular_values()`, `penalty()`, and parameters reflectors_u, reflectors_v, singular: make the
    optimiser afterwards. Raises OptionError, ShapeError, RangeError, ReflectorCountError.
    """
    weight = _weight(module, name)
    if start not in STARTS:
        raise OptionError(f"start must be one of {', '.join(STARTS)}; found {start!r}")
    first: init.InitName = "gaussian" if start == "weight" else start
    blocks = _blocks(module, name, weight, gates)
    own = [
        SVD(
            block.shape[0], block.shape[1], reflectors=reflectors, margin=margin, sigma=sigma, spectrum=spectrum,
            start=first, generator=generator, device=weight.device, dtype=weight.dtype,
        )
        for block in blocks
    ]  # fmt: skip
    if start == "weight":
        for one, block in zip(own, blocks, strict=True):
            _take(one, block, name)
    held = SpectralWeight(SVD.pack(own) if gates else own[0], weight.shape)
    held.requires_grad_(weight.requires_grad)
    torch_parametrize.register_parametrization(module, name, held)
    if isinstance(module, nn.RNNBase) and _let_go not in module._forward_hooks.values():
        module.register_forward_hook(_let_go)
    return module


class SpectralWeight(nn.Module):
    """A weight of the given shape whose rows are `svd`'s, or a pack of G of them one under another."""

    def __init__(self, svd: SVD, shape: torch.Size) -> None:
        super().__init__()
        self.svd = svd
        self.shape = shape
        self._holds_its_start = True

    def forward(self) -> Tensor:
        """The weight itself."""
        like = self.svd.reflectors_u
        with torch.autocast(like.device.type, enabled=False):
            return self.svd.dense().reshape(self.shape)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, ...]:
        """Takes the values that give this weight; torch keeps none of its own, hence (). As SVD.set_dense."""
        if self._holds_its_start:  # torch asks once on registration, where the start is set already
            self._holds_its_start = False
            return ()
        w = weight.flatten(1)
        if self.svd.trials is None:
            self.svd.set_dense(w)
            return ()
        own = [self.svd.trial(k) for k in range(self.svd.trials)]
        for one, block in zip(own, torch.chunk(w, len(own)), strict=True):
            one.set_dense(block)
        self.svd.load_state_dict(SVD.pack(own).state_dict())
        return ()


def _weight(module: nn.Module, name: str) -> Tensor:
    if torch_parametrize.is_parametrized(module, name):
        raise OptionError(f"{name!r} is parametrized already; remove that first with remove_parametrizations")
    found = dict(module.named_parameters(recurse=False))
    if name not in found:
        has = ", ".join(found) or "none of its own"
        raise OptionError(f"{type(module).__name__} has no parameter {name!r}; it has {has}")
    if found[name].dim() < 2:
        raise ShapeError(f"{name!r} must have two dimensions or more; found shape {tuple(found[name].shape)}")
    return found[name]


def _blocks(module: nn.Module, name: str, weight: Tensor, gates: bool) -> tuple[Tensor, ...]:
    """The matrices that get an SVD each, (rows, cols)."""
    matrix = weight.detach().flatten(1)
    if not gates:
        return (matrix,)
    count = GATES.get(type(module))
    if count is None or matrix.shape[0] % count or name.startswith("weight_hr"):
        kinds = ", ".join(kind.__name__ for kind in GATES)
        raise OptionError(f"gates=True is for the gates of {kinds}; found {name!r} of {type(module).__name__}")
    return torch.chunk(matrix, count)


def _take(svd: SVD, block: Tensor, name: str) -> None:
    try:
        svd.set_dense(block)
    except (BandError, ReflectorCountError) as error:
        raise OptionError(
            f"start='weight': {name!r} as it is does not fit. {error}. Or begin from a start of its own: 'gaussian'"
        ) from error


def _let_go(module: nn.RNNBase, *_: object) -> None:
    """torch's recurrent modules keep the weights of the last call, and with them its graph, which cannot be copied.
    Those left here are not the module's, and it sees that: it asks for them again at the next call.
    """
    kept = module._flat_weights
    module._flat_weights = [w if w is None or isinstance(w, nn.Parameter) else w.detach() for w in kept]
    module._flat_weight_refs = [None if w is None else weakref.ref(w) for w in module._flat_weights]

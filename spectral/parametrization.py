"""``spectral_svd`` holds a weight of any torch module as U diag(sigma) V^T, through torch.nn.utils.parametrize."""

import weakref
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize as torch_parametrize
from typing_extensions import deprecated

from spectral.deprecation import renamed_keyword
from spectral.errors import BandError, OptionError, ReflectorCountError, ShapeError
from spectral.init import InitName
from spectral.singular_values import Spectrum
from spectral.svd import SVD

WeightInitName = Literal["gaussian", "identity", "henaff", "cayley", "weight"]
INITS: tuple[str, ...] = get_args(WeightInitName)
GATES: dict[type[nn.Module], int] = {nn.LSTM: 4, nn.LSTMCell: 4, nn.GRU: 3, nn.GRUCell: 3}
"""The number of gates, that is of blocks of rows, in the weights of torch's gated modules."""
AnyModule = TypeVar("AnyModule", bound=nn.Module)


@renamed_keyword("start", "init")
def spectral_svd(
    module: AnyModule,
    name: str = "weight",
    *,
    reflectors: int | tuple[int, int] | None = None,
    margin: float = 0.01,
    sigma: float = 1.0,
    spectrum: Spectrum = "sigmoid",
    init: WeightInitName = "gaussian",
    gates: bool = False,
    generator: torch.Generator | None = None,
) -> AnyModule:
    """Replace a parameter of a module by reflectors and singular values, in place.

    With the default ``init`` the values that the parameter has are given up; ``init="weight"`` keeps them.

    The weight is seen as a matrix: its first dimension against all others, so out x (in k k) for a convolution. The
    weight of an LSTM or GRU is all G gates together, (G n, n_i), with one reduced SVD as in Zhang et al. 2018, unless
    ``gates`` is set.

    The rest is torch's: ``module.weight`` forms the matrix, which costs 2 rows cols (m1 + m2) flop each time it is
    read; ``torch.nn.utils.parametrize.cached()`` keeps it. Assigning to ``module.weight`` sets the parameters so that
    the weight equals the value, and ``remove_parametrizations`` leaves the plain weight.
    ``module.parametrizations.weight[0].svd`` is the SVD, with ``normalize_()``, ``singular_values()``, ``penalty()``
    and the parameters reflectors_u, reflectors_v and singular. Make the optimiser afterwards, since the module's
    parameters are then others.

    Args:
        module: Any torch module.
        name: The name of a parameter that the module holds itself, with two dimensions or more.
        reflectors: As in SVD. None is the full number, which reaches all singular vectors.
        margin: As in SVD.
        sigma: As in SVD.
        spectrum: As in SVD.
        init: ``weight`` starts from the present weight, which must then fit the band and the number of reflectors. The
            others are those of SVD; ``identity``, ``henaff`` and ``cayley`` need a square matrix.
        gates: Whether each gate gets an SVD of its own. Only for ``weight_ih...`` and ``weight_hh...`` of
            ``torch.nn.LSTM``, ``LSTMCell``, ``GRU`` and ``GRUCell``, not of classes derived from them.
        generator: The CPU generator that draws the first values; None is torch's default.

    Returns:
        The same module.

    Raises:
        OptionError: If the parameter does not exist or is parametrized already, ``init`` or ``spectrum`` is not one of
            the named values, the parameter is not of a real dtype, ``gates`` is set for another parameter than those
            above, or ``init="weight"`` and the present weight does not fit.
        ShapeError: If the parameter has fewer than two dimensions or no elements, or ``reflectors`` is neither one
            number nor two.
        RangeError: If the margin or sigma is out of range.
        ReflectorCountError: If a number of reflectors is not possible, or ``init`` needs other numbers or a square
            matrix.
    """
    weight = _weight(module, name)
    if init not in INITS:
        raise OptionError(f"init must be one of {', '.join(INITS)}; found {init!r}")
    first: InitName = "gaussian" if init == "weight" else init
    blocks = _blocks(module, name, weight, gates)
    svds = [
        SVD(
            *block.shape,
            reflectors=reflectors,
            margin=margin,
            sigma=sigma,
            spectrum=spectrum,
            init=first,
            generator=generator,
            device=weight.device,
            dtype=weight.dtype,
        )
        for block in blocks
    ]
    if init == "weight":
        for svd, block in zip(svds, blocks, strict=True):
            _set_from_weight(svd, block, name)
    spectral_weight = SpectralWeight(SVD.pack(svds) if gates else svds[0], weight.shape)
    spectral_weight.requires_grad_(weight.requires_grad)
    torch_parametrize.register_parametrization(module, name, spectral_weight)
    if isinstance(module, nn.RNNBase) and _release_weights not in module._forward_hooks.values():
        module.register_forward_hook(_release_weights)
    return module


@deprecated("spectral.parametrize is now named spectral.spectral_svd; the old name goes with the next release")
def parametrize(module: AnyModule, name: str = "weight", **options: Any) -> AnyModule:
    """Return ``spectral_svd(module, name, **options)``."""
    return spectral_svd(module, name, **options)


class SpectralWeight(nn.Module):
    """Computes a weight of a given shape from an SVD, as a parametrization of ``torch.nn.utils.parametrize``.

    The weight is the SVD's matrix with its columns reshaped. If the SVD is a pack of G matrices, these lie one under
    another in the weight.
    """

    def __init__(self, svd: SVD, shape: torch.Size) -> None:
        super().__init__()
        self.svd = svd
        self.shape = shape
        self._is_being_registered = True

    def forward(self) -> Tensor:
        """Return the weight, in the dtype of the parameters also under autocast."""
        return self.svd.dense().reshape(self.shape)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, ...]:
        """Set the SVD's parameters so that the weight equals ``weight``; torch calls this when the weight is assigned.

        The first call, which torch makes when the parametrization is registered, changes nothing.

        Returns:
            (): torch keeps no tensor of the weight beside the SVD's parameters.

        Raises:
            ShapeError: If ``weight`` has another shape than the weight.
            SpectralError: As ``SVD.set_dense`` does. The parameters are then as before.
        """
        if self._is_being_registered:  # torch asks once on registration, when the first values are set already
            self._is_being_registered = False
            return ()
        if weight.shape != self.shape:
            raise ShapeError(f"the weight must have shape {tuple(self.shape)}; found {tuple(weight.shape)}")
        w = weight.flatten(1)
        if self.svd.trials is None:
            self.svd.set_dense(w)
            return ()
        gates = [self.svd.trial(k) for k in range(self.svd.trials)]
        for gate, block in zip(gates, torch.chunk(w, len(gates)), strict=True):
            gate.set_dense(block)
        self.svd.load_state_dict(SVD.pack(gates).state_dict())
        return ()


def _weight(module: nn.Module, name: str) -> Tensor:
    """Return the parameter ``name`` of a module, which is to be replaced.

    Raises:
        OptionError: If it is parametrized already, or if the module does not hold it itself.
        ShapeError: If it has fewer than two dimensions.
    """
    if torch_parametrize.is_parametrized(module, name):
        raise OptionError(
            f"{name!r} is parametrized already; call torch.nn.utils.parametrize.remove_parametrizations for it first"
        )
    own_parameters = dict(module.named_parameters(recurse=False))
    if name not in own_parameters:
        names = ", ".join(own_parameters) or "no direct parameters"
        raise OptionError(f"{type(module).__name__} has no parameter {name!r}; it has {names}")
    weight = own_parameters[name]
    if weight.dim() < 2:
        raise ShapeError(f"parameter {name!r} must have two dimensions or more; found shape {tuple(weight.shape)}")
    return weight


def _blocks(module: nn.Module, name: str, weight: Tensor, gates: bool) -> tuple[Tensor, ...]:
    """Return the matrices (rows, cols) that each get an SVD: the whole weight, or with ``gates`` a block for each gate.

    Raises:
        OptionError: If ``gates`` is set and this is no input or recurrent weight of a module in GATES.
    """
    matrix = weight.detach().flatten(1)
    if not gates:
        return (matrix,)
    # torch gives a parametrized module a class of its own, derived from the module's.
    kind = type(module).__mro__[1] if torch_parametrize.is_parametrized(module) else type(module)
    count = GATES.get(kind)
    if count is None or matrix.shape[0] % count or name.startswith("weight_hr"):
        kinds = ", ".join(kind.__name__ for kind in GATES)
        raise OptionError(
            f"gates=True is for the weights weight_ih and weight_hh of {kinds}; "
            f"found {name!r} of {type(module).__name__}. Pass gates=False"
        )
    return torch.chunk(matrix, count)


def _set_from_weight(svd: SVD, block: Tensor, name: str) -> None:
    """Set an SVD to the matrix ``block``. Raise OptionError if the spectrum or the reflectors do not reach it."""
    try:
        svd.set_dense(block)
    except (BandError, ReflectorCountError) as error:
        raise OptionError(
            f"init='weight' cannot keep the present values of {name!r}: {error}. "
            "Or pass another init, such as 'gaussian'"
        ) from error


def _release_weights(module: nn.RNNBase, *_: object) -> None:
    """Detach the weights that torch caches in ``_flat_weights``. This is a forward hook.

    The module would otherwise keep the autograd graph of the last call, and could not be deep-copied. torch notices
    that the cached weights are not the module's, and asks for them again at the next call.
    """
    cached = module._flat_weights
    module._flat_weights = [w if w is None or isinstance(w, nn.Parameter) else w.detach() for w in cached]
    module._flat_weight_refs = [None if w is None else weakref.ref(w) for w in module._flat_weights]

"""The network of a trial: its kind, its sizes, and how its transition matrices are parametrised."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self, get_args

from pydantic import Field, FiniteFloat, model_validator

from workers.spec.base_spec import SpecPart, invalid_field

ModelKind = Literal[
    "spectral_rnn",
    "spectral_lstm",
    "spectral_gru",
    "spectral_mlp",
    "spectral_resnet",
    "rnn",
    "irnn",
    "lstm",
    "gru",
    "ornn",
    "exprnn",
    "mlp",
    "resnet",
]
ActivationName = Literal["relu", "leaky_relu", "tanh", "identity", "modrelu"]
StartName = Literal["gaussian", "identity", "henaff", "cayley"]

KINDS: frozenset[str] = frozenset(get_args(ModelKind))
RESIDUAL = frozenset({"resnet", "spectral_resnet"})
FEED_FORWARD = frozenset({"mlp", "spectral_mlp"}) | RESIDUAL
BANDED = frozenset(kind for kind in KINDS if kind.startswith("spectral_"))
"""Kinds whose singular values are trained within a band around sigma."""

REFLECTED = BANDED | {"ornn"}
"""Kinds whose transition matrix is a product that contains Householder reflectors."""

MOST_RECURRENT_LAYERS = 16

ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "spectral_rnn": get_args(ActivationName),
    "ornn": get_args(ActivationName),
    "exprnn": get_args(ActivationName),
    "rnn": ("relu", "tanh"),
    **dict.fromkeys(sorted(FEED_FORWARD), ("leaky_relu", "relu", "tanh")),
}
"""The values of ``activation`` that each kind allows. The first is the default, but exprnn's is modrelu, as its authors
chose. Kinds that are not listed have no field ``activation``."""


class ModelSpec(SpecPart):
    """The network of a trial.

    A field that the chosen kind does not have must be left out or null. If the kind is swept, a trial ignores the
    fields that its own kind does not have.
    """

    ONLY_FOR: ClassVar[dict[str, frozenset[str]]] = {
        "activation": frozenset(ACTIVATIONS),
        "reflectors": REFLECTED,
        "reflectors_u": REFLECTED,
        "reflectors_v": REFLECTED,
        "margin": BANDED,
        "sigma": BANDED,
        "start": REFLECTED | {"exprnn"},
    }
    """Fields that apply to some kinds alone."""

    kind: ModelKind = Field(
        default="spectral_rnn",
        description="spectral_*: singular values within margin of sigma; ornn: all singular values 1; "
        "exprnn: orthogonal by the matrix exponential; irnn: an RNN that starts from the identity; "
        "rnn, lstm, gru: as in torch; mlp, resnet: read the whole sequence at once",
    )
    hidden_size: int = Field(default=64, ge=1, le=4096, description="n: units per layer")
    layers: int = Field(
        default=1,
        ge=1,
        le=1000,
        description=f"number of layers; recurrent kinds: at most {MOST_RECURRENT_LAYERS}; mlp, resnet: hidden n x n "
        "layers after the first",
    )
    embedding_size: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="length of the vector that stands for a token; default: 128, or the size of a smaller vocabulary",
    )
    activation: ActivationName | None = Field(
        default=None, description="nonlinearity; default: relu; for exprnn modrelu, for mlp and resnet leaky_relu"
    )
    reflectors: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Householder reflectors on each side, m1 = m2; default: 8, or a smaller hidden_size",
    )
    reflectors_u: int | None = Field(
        default=None, ge=1, le=4096, description="reflectors on the left side (m1), if it differs from the right"
    )
    reflectors_v: int | None = Field(
        default=None, ge=1, le=4096, description="reflectors on the right side (m2), if it differs from the left"
    )
    margin: FiniteFloat | None = Field(
        default=None,
        gt=0,
        le=1,
        description="r: singular values stay within sigma - r and sigma + r; default 0.01; for spectral_resnet "
        "1 / sqrt(number of blocks)",
    )
    sigma: FiniteFloat | None = Field(
        default=None, ge=0, le=2, description="centre of the band of singular values; default 1; for spectral_resnet 0"
    )
    start: StartName | None = Field(
        default=None,
        description="initial transition matrix: gaussian (random reflectors), identity, henaff or cayley (rotations); "
        "default: gaussian; for spectral_mlp with m1 = m2 identity, for exprnn henaff",
    )

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        for name, kinds in self.ONLY_FOR.items():
            if getattr(self, name) is not None and self.kind not in kinds:
                allowed = f"leave it out; it is for kind {' or '.join(sorted(kinds))}"
                raise invalid_field(name, f"{name} does not apply to kind {self.kind}", allowed)
        choices = ACTIVATIONS.get(self.kind, ())
        if self.activation is not None and self.activation not in choices:
            raise invalid_field(
                "activation", f"kind {self.kind} has no activation {self.activation}", ", ".join(choices)
            )
        self._check_layers()
        self._check_reflectors()
        self._check_start()
        return self

    def _check_layers(self) -> None:
        """Raise if the kind cannot have this number of layers."""
        if self.recurrent and self.layers > MOST_RECURRENT_LAYERS:
            deep = ", ".join(sorted(FEED_FORWARD))
            allowed = f"1 to {MOST_RECURRENT_LAYERS} for a recurrent kind; kinds {deep} can have more"
            raise invalid_field("layers", f"kind {self.kind} cannot have {self.layers} layers", allowed)
        if self.kind in RESIDUAL and self.layers % 2:
            raise invalid_field(
                "layers", f"kind {self.kind} has blocks of two layers, not {self.layers} layers", "an even number"
            )

    def _check_reflectors(self) -> None:
        """Raise if ``reflectors`` is given beside a number for one side, or a number exceeds ``hidden_size``."""
        if self.reflectors is not None and (self.reflectors_u is not None or self.reflectors_v is not None):
            allowed = "either reflectors, or reflectors_u and reflectors_v"
            problem = "reflectors sets both sides, but reflectors_u or reflectors_v is given too"
            raise invalid_field("reflectors", problem, allowed)
        for name in ("reflectors", "reflectors_u", "reflectors_v"):
            count = getattr(self, name)
            if count is not None and count > self.hidden_size:
                raise invalid_field(
                    name, f"{count} reflectors exceed hidden_size", f"1 to {self.hidden_size}, the hidden_size"
                )

    def _check_start(self) -> None:
        """Raise if exprnn is to start from gaussian, or if the reflectors cannot represent the ``start`` that is given.

        Identity, henaff and cayley need the same number of reflectors on both sides. Henaff and cayley, which rotate
        n // 2 planes, need at least n // 2 of them.
        """
        if self.kind == "exprnn" and self.start == "gaussian":
            raise invalid_field(
                "start", "kind exprnn starts from rotations and has no start gaussian", "henaff, cayley, identity"
            )
        if self.kind not in REFLECTED:
            return
        m1, m2 = self.reflector_counts
        planes = self.hidden_size // 2
        if self.start in ("identity", "henaff", "cayley") and m1 != m2:
            allowed = "reflectors_u = reflectors_v, or start gaussian"
            problem = f"start {self.start} needs equal numbers of reflectors on both sides, not {m1} and {m2}"
            raise invalid_field("start", problem, allowed)
        if self.start in ("henaff", "cayley") and m1 < planes:
            allowed = f"reflectors of at least {planes}, or start identity or gaussian"
            problem = f"start {self.start} needs {planes} reflectors on each side, hidden_size / 2, and has {m1}"
            raise invalid_field("start", problem, allowed)

    @property
    def recurrent(self) -> bool:
        """Whether the network reads its input step by step; any other kind reads the whole sequence at once."""
        return self.kind not in FEED_FORWARD

    @property
    def reflected(self) -> bool:
        """Whether transition matrices are parametrised by reflectors, ``reflector_counts`` of them."""
        return self.kind in REFLECTED

    @property
    def spectral(self) -> bool:
        """Whether singular values are trained within the band that ``margin`` and ``sigma`` describe."""
        return self.kind in BANDED

    @property
    def nonlinearity(self) -> str:
        """The name of the activation: ``activation`` or its default; tanh for kinds with gates."""
        default = "modrelu" if self.kind == "exprnn" else ACTIVATIONS.get(self.kind, ("tanh",))[0]
        return self.activation or ("relu" if self.kind == "irnn" else default)

    @property
    def start_name(self) -> StartName:
        """The initial transition matrix: ``start``, or its default; without meaning for kinds that have no start."""
        if self.start is not None:
            return self.start
        if self.kind == "exprnn":
            return "henaff"
        m1, m2 = self.reflector_counts
        return "identity" if self.kind == "spectral_mlp" and m1 == m2 else "gaussian"

    @property
    def reflector_counts(self) -> tuple[int, int]:
        """The numbers of reflectors (m1, m2) on the left and right side; without meaning unless ``reflected``.

        A side that is not given has 8, or ``hidden_size`` if that is smaller.
        """
        default = self.reflectors or min(8, self.hidden_size)
        return self.reflectors_u or default, self.reflectors_v or default

    @property
    def band_margin(self) -> float:
        """The margin r: ``margin``, or its default; without meaning unless ``spectral``.

        The default of spectral_resnet, with sigma* = 0, lets all its blocks together grow a state by a factor of e at
        most, since a block x + W_2 phi(W_1 x) grows it by at most 1 + r^2.
        """
        if self.margin is not None:
            return float(self.margin)
        return 1 / math.sqrt(self.layers // 2) if self.kind == "spectral_resnet" else 0.01

    @property
    def band_centre(self) -> float:
        """The centre sigma* of the band: ``sigma``, or its default; without meaning unless ``spectral``."""
        if self.sigma is not None:
            return float(self.sigma)
        return 0.0 if self.kind == "spectral_resnet" else 1.0

    def embedding_of(self, tokens: int) -> int:
        """Return ``embedding_size``, or its default for a vocabulary of ``tokens`` tokens: at most 128."""
        return self.embedding_size or min(tokens, 128)

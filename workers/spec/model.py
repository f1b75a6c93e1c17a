"""The network that a user asks for: ``ModelSpec`` (pydantic only, no torch)."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self, get_args

from pydantic import Field, FiniteFloat, model_validator

from workers.spec.base_spec import SpecPart, wrong

ModelKind = Literal[
    "spectral_rnn", "spectral_lstm", "spectral_gru", "spectral_mlp", "spectral_resnet",
    "rnn", "irnn", "lstm", "gru", "ornn", "exprnn", "mlp", "resnet",
]  # fmt: skip
ActivationName = Literal["relu", "leaky_relu", "tanh", "identity", "modrelu"]
StartName = Literal["gaussian", "identity", "henaff", "cayley"]

KINDS: frozenset[str] = frozenset(get_args(ModelKind))
RESIDUAL = frozenset({"resnet", "spectral_resnet"})
FEED_FORWARD = frozenset({"mlp", "spectral_mlp"}) | RESIDUAL
BANDED = frozenset(kind for kind in KINDS if kind.startswith("spectral_"))
"""Kinds whose singular values move within a band."""

REFLECTED = BANDED | {"ornn"}
"""Kinds that hold reflectors."""

MOST_RECURRENT_LAYERS = 16

ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "spectral_rnn": get_args(ActivationName),
    "ornn": get_args(ActivationName),
    "exprnn": get_args(ActivationName),
    "rnn": ("relu", "tanh"),
    **dict.fromkeys(sorted(FEED_FORWARD), ("leaky_relu", "relu", "tanh")),
}
"""The nonlinearities a kind can have. The first is its default, but for exprnn: modrelu, as its authors chose."""


class ModelSpec(SpecPart):
    """The network. Fields that its kind does not have must be left out, and are dropped where the kind is swept."""

    APPLIES: ClassVar[dict[str, frozenset[str]]] = {
        "activation": frozenset(ACTIVATIONS),
        "reflectors": REFLECTED,
        "reflectors_u": REFLECTED,
        "reflectors_v": REFLECTED,
        "margin": BANDED,
        "sigma": BANDED,
        "start": REFLECTED | {"exprnn"},
    }

    kind: ModelKind = Field(
        default="spectral_rnn", description="spectral_*: singular values in a band; ornn: all 1; exprnn: orthogonal; "
        "irnn: starts from the identity; mlp, resnet: read a sequence at once",
    )  # fmt: skip
    hidden_size: int = Field(default=64, ge=1, le=4096, description="n, units of a layer")
    layers: int = Field(
        default=1, ge=1, le=1000,
        description=f"recurrent: at most {MOST_RECURRENT_LAYERS}; mlp, resnet: hidden n x n ones after the first",
    )  # fmt: skip
    embedding_size: int | None = Field(
        default=None, ge=1, le=4096, description="of a token; default: 128, or the vocabulary's size if smaller"
    )
    activation: ActivationName | None = Field(
        default=None, description="default: relu; exprnn: modrelu; mlp and resnet: leaky_relu"
    )
    reflectors: int | None = Field(
        default=None, ge=1, le=4096, description="m1 = m2; default: 8, or hidden_size if smaller"
    )
    reflectors_u: int | None = Field(default=None, ge=1, le=4096, description="m1 alone; sets reflectors apart")
    reflectors_v: int | None = Field(default=None, ge=1, le=4096, description="m2 alone; sets reflectors apart")
    margin: FiniteFloat | None = Field(
        default=None, gt=0, le=1,
        description="r: singular values within sigma +- r; default 0.01; spectral_resnet: 1 / sqrt(number of blocks)",
    )  # fmt: skip
    sigma: FiniteFloat | None = Field(
        default=None, ge=0, le=2, description="sigma*: centre of the band; default 1; spectral_resnet: 0"
    )
    start: StartName | None = Field(
        default=None, description="default: gaussian; spectral_mlp: identity where m1 = m2; exprnn: henaff"
    )

    @model_validator(mode="after")
    def _fits_kind(self) -> Self:
        for name, kinds in self.APPLIES.items():
            if getattr(self, name) is not None and self.kind not in kinds:
                allowed = f"leave it out; it is for kind {' or '.join(sorted(kinds))}"
                raise wrong(name, f"{name} does not apply to kind {self.kind}", allowed)
        choices = ACTIVATIONS.get(self.kind, ())
        if self.activation is not None and self.activation not in choices:
            raise wrong("activation", f"kind {self.kind} has no activation {self.activation}", ", ".join(choices))
        self._layers_fit()
        self._reflectors_fit()
        self._start_fits()
        return self

    def _layers_fit(self) -> None:
        if self.recurrent and self.layers > MOST_RECURRENT_LAYERS:
            allowed = (
                f"1 to {MOST_RECURRENT_LAYERS} for a recurrent kind; kinds {', '.join(sorted(FEED_FORWARD))} go on"
            )
            raise wrong("layers", f"kind {self.kind} cannot have {self.layers} layers", allowed)
        if self.kind in RESIDUAL and self.layers % 2:
            raise wrong(
                "layers", f"kind {self.kind} has blocks of two layers, not {self.layers} layers", "an even number"
            )

    def _reflectors_fit(self) -> None:
        if self.reflectors is not None and (self.reflectors_u is not None or self.reflectors_v is not None):
            allowed = "either reflectors, or reflectors_u and reflectors_v"
            raise wrong("reflectors", "reflectors are given twice, for both sides and for one", allowed)
        for name in ("reflectors", "reflectors_u", "reflectors_v"):
            count = getattr(self, name)
            if count is not None and count > self.hidden_size:
                raise wrong(name, f"{count} reflectors exceed hidden_size", f"1 to {self.hidden_size}, the hidden_size")

    def _start_fits(self) -> None:
        """Rotation and identity starts need as many reflectors on both sides, rotations one for every plane."""
        if self.kind == "exprnn" and self.start == "gaussian":
            raise wrong(
                "start", "kind exprnn starts from rotations and has no start gaussian", "henaff, cayley, identity"
            )
        if self.kind not in REFLECTED:
            return
        m1, m2 = self.reflector_counts
        planes = self.hidden_size // 2
        if self.start in ("identity", "henaff", "cayley") and m1 != m2:
            allowed = "reflectors_u = reflectors_v, or start gaussian"
            raise wrong(
                "start", f"start {self.start} needs as many reflectors on both sides, not {m1} and {m2}", allowed
            )
        if self.start in ("henaff", "cayley") and m1 < planes:
            allowed = f"reflectors of at least {planes}, or start identity or gaussian"
            raise wrong("start", f"start {self.start} needs a reflector for each of {planes} planes, not {m1}", allowed)

    @property
    def recurrent(self) -> bool:
        """Whether the net reads its input step by step; else it reads the whole sequence at once."""
        return self.kind not in FEED_FORWARD

    @property
    def reflected(self) -> bool:
        """Whether transitions are held as reflectors, ``reflector_counts`` of them."""
        return self.kind in REFLECTED

    @property
    def spectral(self) -> bool:
        """Whether singular values move within a band, which ``margin`` and ``sigma`` describe."""
        return self.kind in BANDED

    @property
    def nonlinearity(self) -> str:
        """The activation, with the default filled in; tanh for kinds that have gates."""
        default = "modrelu" if self.kind == "exprnn" else ACTIVATIONS.get(self.kind, ("tanh",))[0]
        return self.activation or ("relu" if self.kind == "irnn" else default)

    @property
    def first_values(self) -> StartName:
        """The start, with the default filled in."""
        if self.start is not None:
            return self.start
        if self.kind == "exprnn":
            return "henaff"
        m1, m2 = self.reflector_counts
        return "identity" if self.kind == "spectral_mlp" and m1 == m2 else "gaussian"

    @property
    def reflector_counts(self) -> tuple[int, int]:
        """(m1, m2) with defaults filled in."""
        default = self.reflectors or min(8, self.hidden_size)
        return self.reflectors_u or default, self.reflectors_v or default

    @property
    def band_margin(self) -> float:
        """r, with the default filled in. Residual blocks W_2 phi(W_1 x) then grow a state by (1 + r^2) at most each."""
        if self.margin is not None:
            return float(self.margin)
        return 1 / math.sqrt(self.layers // 2) if self.kind == "spectral_resnet" else 0.01

    @property
    def band_centre(self) -> float:
        """sigma*, with the default filled in."""
        if self.sigma is not None:
            return float(self.sigma)
        return 0.0 if self.kind == "spectral_resnet" else 1.0

    def embedding_of(self, tokens: int) -> int:
        """Size of a token's vector where there are ``tokens`` of them, with the default filled in."""
        return self.embedding_size or min(tokens, 128)

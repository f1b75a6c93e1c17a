"""The model card: a ``README.md`` that says what the module is, how to load it, and what its singular values are."""

from pathlib import Path
from typing import Any

from torch import nn

from spectral.pretrained.configuration import ModuleConfiguration
from spectral.pretrained.files import CARD, MODEL, PICTURE
from spectral.pretrained.spectrum import MatrixSpectrum, spectra, text_histogram
from spectral.roles import ParameterRole, parameter_roles

MARK = "<!-- Written by save_pretrained, and written anew by the next one. Remove this line to keep your own text. -->"
MOST = 24
"""How many matrices are shown at most."""
ROLES: dict[ParameterRole, str] = {
    "reflector": "reflectors, U and V",
    "singular_value": "singular values",
    "threshold": "offsets of modReLU",
    "coordinate": "coordinates of other parametrizations",
    "weight": "weights",
    "bias": "biases",
}
KINDS = {
    "SpectralRNN": "an Elman network like `torch.nn.RNN`",
    "SpectralLSTM": "an LSTM like `torch.nn.LSTM`",
    "SpectralGRU": "a GRU like `torch.nn.GRU`",
    "SpectralLinear": "a linear layer like `torch.nn.Linear`",
    "SVD": "a matrix",
}


def card_files(module: nn.Module, configuration: ModuleConfiguration, folder: Path) -> dict[str, bytes | None]:
    """Return the files of the model card by name; none if the folder has a card that somebody wrote by hand.

    Without matplotlib there is no picture, and its content is None.

    Args:
        module: The module that the card describes.
        configuration: Its configuration.
        folder: Where the card is to be written.
    """
    present = folder / CARD
    if present.exists() and MARK not in present.read_text(errors="replace"):
        return {}
    found = spectra(module)
    picture = _picture(found, configuration)
    text = _text(module, configuration, found, has_picture=picture is not None)
    return {CARD: text.encode(), PICTURE: picture}


def _picture(found: list[MatrixSpectrum], configuration: ModuleConfiguration) -> bytes | None:
    """Return the PNG file with the singular values, or None if matplotlib is not installed."""
    try:
        from spectral.pretrained.spectrum_plot import png
    except ImportError:
        return None
    return png(found, f"{configuration.class_name}: singular values", most=MOST)


def _text(
    module: nn.Module, configuration: ModuleConfiguration, found: list[MatrixSpectrum], *, has_picture: bool
) -> str:
    """Return the text of the card."""
    name = configuration.class_name
    pack = "" if configuration.trials is None else f", a pack of {configuration.trials} trials"
    recurrent = hasattr(module, "num_layers")
    spectrum = (
        f"![Histogram of the singular values of every matrix against its band]({PICTURE})"
        if has_picture
        else f"```text\n{text_histogram(found, most=MOST)}\n```"
    )
    hidden = f"\n\nThe first {MOST} of {len(found)} matrices are shown." if len(found) > MOST else ""
    return f"""---
library_name: spectral-rnn-service
tags:
- pytorch
- safetensors
- svd
- orthogonal
- {"recurrent-neural-network" if recurrent else "linear-layer"}
---
{MARK}

# {name}{pack}

This is {_kind(module)}. {"Each recurrent matrix" if recurrent else "Its matrix"} is held as
`W = U diag(sigma) V^T`, where U and V are products of Householder reflectors (Zhang, Lei and Dhillon, *Stabilizing
Gradients for Deep Neural Networks via Efficient SVD Parameterization*, ICML 2018).
{_band(found)}

## Load it

```python
# pip install "spectral-rnn-service[export]"
from {_module_name(module)} import {name}

module = {name}.from_pretrained("path/to/this/folder")
```

The parameters are in `{MODEL}`. They are `{configuration.dtype}`.

## Options

{_table(["option", "value"], [[f"`{key}`", _value(value)] for key, value in configuration.named_options()])}

## Parameters

{_table(["kind", "numbers"], _parameter_rows(module))}

{_free(module)}

## Singular values

{spectrum}{hidden}
"""


def _kind(module: nn.Module) -> str:
    """Return what a module is in words, by its class or the nearest class of this package above it."""
    return next((KINDS[cls.__name__] for cls in type(module).__mro__ if cls.__name__ in KINDS), "a module")


def _module_name(module: nn.Module) -> str:
    """Return from where a class is imported: this package exports its own ones."""
    name = type(module).__module__
    package = __package__.partition(".")[0]
    return package if name.startswith(f"{package}.") else name


def _band(found: list[MatrixSpectrum]) -> str:
    """Return a sentence on what the singular values can be."""
    bounds = sorted({(one.centre, one.margin) for one in found}, key=str)
    if len(bounds) > 1:
        return "Each trial keeps its singular values in a band of its own, see below."
    centre, margin = bounds[0]
    if margin is None:
        return f"Nothing bounds the singular values; a penalty in the loss can pull them towards {centre:g}."
    if margin == 0:
        return f"All singular values are {centre:g}: up to that factor the matrices are orthogonal."
    return (
        f"All singular values stay between {centre - margin:.6g} and {centre + margin:.6g}, also in further training."
    )


def _parameter_rows(module: nn.Module) -> list[list[str]]:
    """Return the rows of the table of parameters: how many numbers there are of each kind, and in all."""
    roles, sizes = parameter_roles(module), {name: p.numel() for name, p in module.named_parameters()}
    rows = []
    for role, label in ROLES.items():
        count = sum(size for name, size in sizes.items() if roles[name] == role)
        if count:
            rows.append([label, f"{count:,}"])
    return [*rows, ["**all**", f"**{sum(sizes.values()):,}**"]]


def _free(module: nn.Module) -> str:
    """Return a sentence on the numbers that are free to move, in each trial if the module counts them."""
    zeros = "the first j numbers of reflector j, counted from 0, are zero and stay zero"
    count: Any = getattr(module, "free_parameters", None)
    if count is None:
        return f"Not all of them are free: {zeros}."
    slots: Any = getattr(module, "slots", ())
    each = [f"{count(k):,}" for k in range(len(slots))]
    if len(each) == 1:
        return f"Of these, {each[0]} are free: {zeros}."
    return f"Each trial has fewer that are free, {' / '.join(each)}: {zeros}."


def _table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _value(value: Any) -> str:
    """Return the value of an option as Python code."""
    return f"`{value!r}`"

"""The configuration of a module as a value of its state dict, so that it is not loaded into a module of another one."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from spectral.errors import StateMismatchError

Configuration = Mapping[str, Any]
"""What decides, beside the parameters, which matrices a module has: names and values that JSON knows."""

ADVICE = (
    "Build the module with the options of the one that was saved, or, to take over the parameters alone, leave the key "
    "that ends in '_extra_state' out of the state dict"
)


def encode(configuration: Configuration) -> Tensor:
    """Return a configuration as the bytes of UTF-8 JSON in a float32 tensor on the CPU.

    Values of state dicts are tensors, and programs average them or cast them to half precision; float32 takes that.
    """
    text = json.dumps(configuration, sort_keys=True).encode()
    return torch.tensor(list(text), dtype=torch.float32, device="cpu")


def check(stored: Any, own: Configuration, module: str) -> None:
    """Refuse a stored configuration that differs from a module's own one.

    Names that one of both does not have, such as those of a later version, are not compared.

    Args:
        stored: What ``encode`` returned when the module was saved. A tensor on the meta device says nothing.
        own: The configuration of the module that is to be loaded.
        module: The name of its class, for the message.

    Raises:
        StateMismatchError: If they differ, or if ``stored`` cannot be read.
    """
    if isinstance(stored, Tensor) and stored.is_meta:
        return
    found = _decode(stored, module)
    own = json.loads(json.dumps(own))
    different = [name for name in own if name in found and found[name] != own[name]]
    if different:
        told = "; ".join(f"{name} is {found[name]} there and {own[name]} here" for name in different)
        raise StateMismatchError(f"the state dict is of another {module}: {told}. {ADVICE}")


def _decode(stored: Any, module: str) -> dict[str, Any]:
    """Return the configuration that ``encode`` wrote. Raise StateMismatchError if it cannot be read."""
    try:
        # A program that works on all values of a state dict may have averaged or cast this one too.
        found = json.loads(bytes(stored.detach().float().round().to(torch.uint8).tolist()))
        if not isinstance(found, dict):
            raise ValueError(f"expected an object, found {found!r}")
    except (AttributeError, TypeError, ValueError) as error:
        raise StateMismatchError(f"the extra state of a {module} cannot be read: {error}. {ADVICE}") from error
    return found

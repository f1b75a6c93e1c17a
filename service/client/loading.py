"""Make the network of a trial from its checkpoint. torch is imported only here, when a network is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workers.models import SequenceModel


class NetworkUnreadable(ValueError):
    """This release cannot make the network of a trial that another release has trained."""


def network_of(spec: Mapping[str, Any], number: int, params: Mapping[str, Any], content: bytes) -> SequenceModel:
    """Return the network of a trial, on the CPU and in eval mode.

    Args:
        spec: The sweep's document, as the service shows it.
        number: The trial's number within the sweep.
        params: Its values of the swept fields.
        content: The parameters of one of its checkpoints, as ``weights`` returns them.

    Raises:
        NetworkUnreadable: This release cannot read the sweep's document.
        CheckpointInvalid: The content is no checkpoint.
    """
    from pydantic import ValidationError

    from workers.checkpoints import tensors_of
    from workers.models import trained_network
    from workers.spec.expand import plan_trial
    from workers.spec.sweep import SweepSpec

    try:
        trial = plan_trial(SweepSpec.model_validate(spec), number, dict(params)).require_spec()
    except ValidationError:
        problem = f"this release cannot read the sweep of trial {number}; install the release of the service"
        raise NetworkUnreadable(problem) from None
    return trained_network(trial, tensors_of(content, f"the checkpoint of trial {number}"))

"""Every kind under autocast to bfloat16: close to its float32 result, and in bfloat16 wherever torch supports it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.workers.models.networks import drawn, mixed, trial
from workers.models import SequenceModel, initial_network, pack
from workers.models.mixed_precision import RECURRENCES, can_train
from workers.models.recurrent import RecurrentModel
from workers.spec.model import KINDS

TORCH_KINDS = ["rnn", "irnn", "lstm", "gru"]


def built(kind: str) -> list[SequenceModel]:
    return [initial_network(trial(kind, **own, dtype="float32")) for own in mixed(kind)]


def dtype_of_torchs_own(module: nn.Module, inputs: Tensor) -> torch.dtype | None:
    """Return the dtype of the states of torch's module under autocast, or None if torch cannot train it there."""
    try:
        with torch.autocast("cpu", torch.bfloat16):
            states: Tensor = module(inputs)[0]
        states.sum().backward()
    except RuntimeError:
        return None
    return states.dtype


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_runs_in_mixed_precision(kind: str) -> None:
    packed = pack(built(kind))
    inputs, h0 = drawn(3, 4, 8, 2).float(), packed.zeros(4).requires_grad_()
    exact, _ = packed.forward(inputs, h0)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, state = packed.forward(inputs, h0)
    torch.testing.assert_close(outputs.float(), exact, rtol=0.05, atol=0.05)
    assert state.dtype == h0.dtype
    gradients = torch.autograd.grad(outputs.float().square().sum(), [*packed.parameters.values(), h0])
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[-1].any()


@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_torchs_nets_run_in_the_dtype_that_torch_supports_and_log_a_fallback_once(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    models, inputs = built(kind), drawn(3, 4, 8, 2).float()
    assert isinstance(models[0], RecurrentModel)
    wanted = dtype_of_torchs_own(models[0].recurrent, inputs[0])
    packed = pack(models)
    exact, _ = packed.read(inputs, every=True)
    can_train.cache_clear()
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            states, _ = packed.read(inputs, every=True)
    if wanted is None:
        assert torch.equal(states, exact)
    else:
        assert states.dtype == wanted
    refusals = [record for record in caplog.records if "computes it in float32 instead" in record.getMessage()]
    assert len(refusals) == (wanted is None)


def test_the_check_works_in_an_evaluation_without_gradients() -> None:
    packed = pack(built("lstm"))
    can_train.cache_clear()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        outputs, _ = packed.forward(drawn(3, 4, 8, 2).float())
    assert outputs.isfinite().all()
    first = can_train("LSTM", torch.device("cpu"), torch.bfloat16)
    can_train.cache_clear()
    assert can_train("LSTM", torch.device("cpu"), torch.bfloat16) == first


def test_full_precision_needs_no_check() -> None:
    can_train.cache_clear()
    pack(built("lstm")).forward(drawn(3, 4, 8, 2).float())
    assert can_train.cache_info().currsize == 0


@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_torch_is_told_whether_gradients_are_taken(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it cuDNN refuses the backward pass, which no other backend does."""
    packed, inputs = pack(built(kind)), drawn(3, 4, 8, 2).float()
    mode = packed._mode  # type: ignore[attr-defined]
    compute, training = RECURRENCES[mode], []

    def recorded(*arguments: object) -> object:
        training.append(arguments[6])
        return compute(*arguments)

    monkeypatch.setitem(RECURRENCES, mode, recorded)
    packed.read(inputs, every=True)
    with torch.no_grad():
        packed.read(inputs, every=True)
    assert training == [True] * 3 + [False] * 3

import pytest
import torch

from spectral.autocast import autocast_is_on, without_autocast

CPU = torch.device("cpu")


def test_autocast_is_off_inside_and_on_again_after() -> None:
    x = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert autocast_is_on(CPU)
        with without_autocast(CPU):
            assert not autocast_is_on(CPU)
            assert (x @ x).dtype == torch.float32
        assert (x @ x).dtype == torch.bfloat16


def test_meta_has_no_autocast_and_is_let_be() -> None:
    with pytest.raises(RuntimeError):
        torch.autocast("meta")
    assert not autocast_is_on(torch.device("meta"))
    with torch.autocast("cpu", torch.bfloat16), without_autocast(torch.device("meta")):
        assert (torch.ones(2, 2, device="meta") @ torch.ones(2, 2, device="meta")).shape == (2, 2)

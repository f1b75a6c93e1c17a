"""SpectralLinear is used as torch.nn.Linear is."""

import copy

import pytest
import torch
from torch import nn

from spectral import SVD, SpectralLinear, linear_of_trials, torch_on_one_thread
from spectral.errors import BandError, OptionError, PackError, ShapeError
from tests.spectral.agreement import assert_near, draw, generator, gradients

F64 = torch.float64


def layer(in_features=4, out_features=5, seed=0, **options):
    return SpectralLinear(in_features, out_features, dtype=F64, generator=generator(seed), **options)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 0, 4), (2, 3, 4)])
def test_it_computes_what_torch_computes_over_its_weight(shape, bias):
    made, x = layer(bias=bias, margin=0.5), draw(*shape, seed=3).requires_grad_()
    out = made(x)
    expected = nn.functional.linear(x, made.weight, made.bias)
    assert_near(out, expected, 100)
    inputs = [x, *made.parameters()]
    for found, wanted in zip(gradients(out, inputs), gradients(expected, inputs), strict=True):
        assert_near(found, wanted, 1000)


def test_it_has_the_attributes_and_the_positional_arguments_of_torch():
    made, torchs = SpectralLinear(4, 5, False, "cpu", F64), nn.Linear(4, 5, False, "cpu", F64)
    for name in ("in_features", "out_features", "bias"):
        assert getattr(made, name) == getattr(torchs, name)
    assert made.weight.shape == torchs.weight.shape
    assert made.weight.dtype == F64
    assert made.weight.requires_grad
    assert SpectralLinear(4, 5).bias.shape == nn.Linear(4, 5).bias.shape
    assert made.extra_repr() == torchs.extra_repr() == "in_features=4, out_features=5, bias=False"
    assert "rows=5, cols=4, spectrum='sigmoid', reflectors=(4, 4), margin=0.01, sigma=1.0" in repr(made)


def test_reset_parameters_draws_as_the_constructor_does():
    made, same = layer(margin=0.5), layer(margin=0.5, seed=9)
    with torch.no_grad():
        made.svd.singular.fill_(3.0)
    made.reset_parameters(generator=generator(9))
    for (name, found), (_, expected) in zip(made.named_parameters(), same.named_parameters(), strict=True):
        assert torch.equal(found, expected), name
    with pytest.raises(PackError, match="one by one"):
        SpectralLinear.pack([made, same]).reset_parameters()


def test_assigning_the_weight_sets_the_matrix_and_leaves_the_bias():
    made, bias = layer(margin=1.0), layer(margin=1.0).bias
    w = 0.4 * draw(5, 4, seed=7)
    made.weight = w
    assert_near(made.weight, w, 100)
    assert torch.equal(made.bias, bias)
    with pytest.raises(BandError):
        made.weight = 100 * w


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_from_a_layer_of_torch_and_back(bias, dtype):
    before = torch.get_rng_state()
    torchs = nn.Linear(4, 6, bias, dtype=dtype)
    torch.set_rng_state(before)
    made = SpectralLinear.from_dense(torchs.weight, torchs.bias, spectrum="penalty")
    assert torch.equal(torch.get_rng_state(), before), "no number is drawn"
    x = draw(3, 4).to(dtype)
    assert isinstance(made, SpectralLinear)
    assert_near(made(x), torchs(x), 100)
    again = made.eval().to_linear()
    assert type(again) is nn.Linear
    assert not again.training
    assert_near(again(x), torchs(x), 100)
    assert all(p.requires_grad for p in (*made.parameters(), *again.parameters()))
    if bias:
        assert made.bias is not torchs.bias
        again.bias.data.zero_()
        assert made.bias.any()
    with pytest.raises(ShapeError, match=r"bias must have shape \(6,\)"):
        SpectralLinear.from_dense(torchs.weight, torch.zeros(4), spectrum="penalty")


@pytest.mark.parametrize("bias", [True, False])
def test_a_pack_does_what_each_layer_does_alone(bias):
    options = [{"reflectors": 2, "margin": 0.1}, {"reflectors": (4, 0), "margin": 0.5, "sigma": 0.7}]
    alone = [layer(seed=k, bias=bias, **own) for k, own in enumerate(options)]
    pack, x = SpectralLinear.pack(alone), draw(2, 3, 4, seed=5)
    assert pack.trials == 2
    assert pack.slots == tuple(trial.slots[0] for trial in alone)
    found = pack(x)
    grads = dict(zip(dict(pack.named_parameters()), gradients(found, list(pack.parameters())), strict=True))
    weight = draw(*found.shape, seed=9)
    for k, trial in enumerate(alone):
        out, again = trial(x[k]), pack.trial(k)
        assert_near(found[k], out, 400)
        assert_near(pack.weight[k], trial.weight, 100)
        assert_near(pack(x[:, 0])[k], trial(x[k, 0]), 400)
        assert again.trials is None
        assert again.free_parameters() == trial.free_parameters() == pack.free_parameters(k)
        for name, parameter in trial.named_parameters():
            (grad,) = torch.autograd.grad((out * weight[k]).sum(), [parameter], retain_graph=True)
            assert_near(grads[name][k][..., : grad.shape[-1]], grad, 400, name)
            assert not grads[name][k][..., grad.shape[-1] :].any()
            assert torch.equal(dict(again.named_parameters())[name], parameter)


def test_what_a_pack_refuses():
    with pytest.raises(PackError, match="at least one"):
        SpectralLinear.pack([])
    for other in (layer(4, 6), layer(bias=False), layer().eval()):
        with pytest.raises(PackError, match="must agree in"):
            SpectralLinear.pack([layer(), other])
    pack = SpectralLinear.pack([layer(), layer()])
    with pytest.raises(PackError, match="single trials"):
        SpectralLinear.pack([pack])
    with pytest.raises(PackError, match="from 0 to 1"):
        pack.trial(2)
    with pytest.raises(PackError, match="not a pack"):
        layer().trial(0)
    with pytest.raises(PackError, match="one trial"):
        pack.to_linear()
    with pytest.raises(ShapeError, match=r"\(2, \.\.\., 4\)"):
        pack(draw(3, 1, 4))


def test_what_an_svd_has_is_at_hand():
    made = layer(margin=0.5, spectrum="penalty")
    with torch.no_grad():
        made.svd.singular.copy_(torch.tensor([1.0, 3.0, 0.0, 1.0]))
    assert made.penalty().item() == 5.0
    assert torch.equal(made.singular_values(), made.svd.singular)
    assert [id(p) for p in made.reflector_parameters()] == [id(made.svd.reflectors_u), id(made.svd.reflectors_v)]
    assert [id(p) for p in made.singular_parameters()] == [id(made.svd.singular)]
    before = made.weight.detach()
    made.normalize_()
    assert_near(made.svd.reflectors_u.norm(dim=0), torch.ones(4, dtype=F64), 4)
    assert_near(made.weight, before, 100)


@pytest.mark.parametrize(("rows", "cols", "counts"), [(5, 5, (5, 5)), (6, 4, (4, 3)), (3, 7, (0, 2))])
@pytest.mark.parametrize("spectrum", ["sigmoid", "fixed"])
def test_the_count_of_free_parameters_leaves_out_what_is_always_zero(rows, cols, counts, spectrum):
    svd = SVD(rows, cols, reflectors=counts, spectrum=spectrum)
    zeros = sum(m * (m - 1) // 2 for m in counts)
    assert svd.free_parameters() == sum(p.numel() for p in svd.parameters()) - zeros
    with_bias = SpectralLinear(cols, rows, reflectors=counts, spectrum=spectrum)
    assert with_bias.free_parameters() == svd.free_parameters() + rows


@pytest.mark.parametrize("prefix", ["", "0."])
@pytest.mark.parametrize("trials", [1, 2])
def test_a_state_dict_of_an_earlier_release_is_loaded(prefix, trials):
    alone = [layer(seed=k, margin=0.5) for k in range(trials)]
    made = alone[0] if trials == 1 else SpectralLinear.pack(alone)
    old = {
        prefix + name: getattr(made.svd, name).detach().clone() for name in ("reflectors_u", "reflectors_v", "singular")
    }
    old[f"{prefix}bias"] = made.bias.detach().clone()
    target = copy.deepcopy(made)
    with torch.no_grad():
        for parameter in target.parameters():
            parameter.zero_()
    owner = nn.Sequential(target) if prefix else target
    given = dict(old)
    assert not any(owner.load_state_dict(old))
    assert old.keys() == given.keys(), "the caller's own dictionary stays as it was"
    x = draw(*((2,) if trials == 2 else ()), 3, 4)
    assert torch.equal(target(x), made(x))
    with pytest.raises(RuntimeError, match=r"Missing key.*svd\.singular"):
        owner.load_state_dict({name: value for name, value in old.items() if "singular" not in name})


def test_old_names_of_arguments_and_methods_still_work_with_a_warning():
    with pytest.warns(DeprecationWarning, match="'start' is now named 'init'"):
        made = SpectralLinear(4, 4, start="identity")
    assert_near(made.weight, torch.eye(4), 16)
    with pytest.warns(DeprecationWarning, match="'start' is now named 'init'"):
        svd = SVD(4, 4, start="identity")
    with pytest.warns(DeprecationWarning, match="log_abs_det is now named logabsdet"):
        assert svd.log_abs_det() == svd.logabsdet()


def test_what_is_refused_by_name():
    with pytest.raises(ShapeError, match=r"must have shape \(\.\.\., 4\); found \(3, 5\)"):
        layer()(draw(3, 5))
    with pytest.raises(OptionError, match=r"dtype must be one of .*; found torch\.int64"):
        SpectralLinear.from_dense(torch.ones(3, 3, dtype=torch.int64))


def test_a_parameter_can_be_assigned_as_the_weight():
    layer = SpectralLinear(4, 4)
    layer.weight = torch.nn.Parameter(torch.eye(4))
    assert torch.allclose(layer.weight, torch.eye(4))
    assert {name for name, _ in layer.named_parameters()} == {
        "svd.reflectors_u",
        "svd.reflectors_v",
        "svd.singular",
        "bias",
    }


@pytest.mark.parametrize("outputs", [1, 2, 48])
@pytest.mark.parametrize("inputs", [1, 3, 48])
@pytest.mark.parametrize("rows", [1, 13, 1000])
def test_the_layer_of_a_trial_has_the_same_bits_in_any_pack(rows, inputs, outputs):
    """torch's own product has not, if it has one input or one output."""
    x, weight, bias = draw(3, rows, inputs), draw(3, outputs, inputs, seed=1), draw(3, outputs, seed=2)
    towards = draw(3, rows, outputs, seed=3).float()
    with torch_on_one_thread():
        parts = [tensor.float().requires_grad_() for tensor in (x, weight, bias)]
        together = linear_of_trials(*parts)
        found = [together, *torch.autograd.grad(together, parts, towards)]
        for k in range(3):
            own = [part.detach()[k : k + 1].requires_grad_() for part in parts]
            alone = linear_of_trials(*own)
            for seen, wanted in zip(found, [alone, *torch.autograd.grad(alone, own, towards[k : k + 1])], strict=True):
                assert torch.equal(seen[k : k + 1], wanted)
    wanted = torch.einsum("kri,koi->kro", x, weight) + bias.unsqueeze(1)
    torch.testing.assert_close(together.double(), wanted, rtol=1e-5, atol=1e-5)

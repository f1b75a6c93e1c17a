"""Constructor arguments, attributes and methods that the recurrent modules share with torch's."""

import copy
import warnings

import pytest
import torch
from torch import nn

from spectral import SpectralGRU, SpectralLSTM, SpectralRNN
from spectral.errors import OptionError, PackError, ReflectorCountError, SpectralError
from tests.spectral.agreement import generator

KINDS = {"rnn": SpectralRNN, "lstm": SpectralLSTM, "gru": SpectralGRU}
kinds = pytest.mark.parametrize("kind", list(KINDS))


@kinds
@pytest.mark.parametrize(("size", "count"), [(4, 4), (16, 16), (40, 16)])
def test_there_are_16_reflectors_by_default_or_as_many_as_units(kind, size, count):
    assert KINDS[kind](3, size).slots[0].reflectors == (count, count)


def test_with_a_projection_its_size_limits_the_reflectors():
    assert SpectralLSTM(3, 40, proj_size=5).slots[0].reflectors == (5, 5)
    assert SpectralLSTM(3, 40, proj_size=20).slots[0].reflectors == (16, 16)
    with pytest.raises(ReflectorCountError, match=r"reflectors must be .* from 0 to 5, .* found .*6"):
        SpectralLSTM(3, 40, proj_size=5, reflectors=6)
    with pytest.raises(ReflectorCountError, match=r"init='henaff' needs a square matrix.* 40 x 5 entries"):
        SpectralLSTM(3, 40, proj_size=5, init="henaff")


@kinds
def test_the_old_name_of_init_works_and_warns(kind):
    with pytest.warns(DeprecationWarning, match="'start' is now named 'init'") as caught:
        old = KINDS[kind](3, 6, start="identity", reflectors=6, generator=generator())
    assert caught[0].filename == __file__
    new = KINDS[kind](3, 6, init="identity", reflectors=6, generator=generator())
    assert torch.equal(old.dense(), new.dense())
    with pytest.raises(TypeError, match="both are given"):
        KINDS[kind](3, 6, start="identity", init="identity")


@kinds
def test_dropout_for_one_layer_warns_at_the_callers_line(kind):
    with pytest.warns(UserWarning, match="num_layers=1 it has no effect; found dropout=0.5") as caught:
        made = KINDS[kind](3, 6, dropout=0.5)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        KINDS[kind](3, 6, 2, dropout=0.5)
        plain = getattr(made, f"to_{kind}")()
    assert plain.dropout == 0.5


def test_mode_and_nonlinearity_have_the_names_of_torch():
    for name in ("tanh", "relu"):
        made, plain = SpectralRNN(3, 4, nonlinearity=name), nn.RNN(3, 4, nonlinearity=name)
        assert (made.mode, made.nonlinearity) == (plain.mode, plain.nonlinearity)
    assert SpectralRNN(3, 4, nonlinearity="modrelu").mode == "RNN_MODRELU"
    assert SpectralRNN(3, 4, nonlinearity="leaky_relu").mode == "RNN_LEAKY_RELU"


@kinds
@pytest.mark.parametrize("init", ["gaussian", "identity", "cayley"])
@pytest.mark.parametrize("spectrum", ["sigmoid", "penalty", "fixed"])
def test_reset_parameters_draws_what_the_constructor_draws(kind, init, spectrum):
    options = {"init": init, "spectrum": spectrum, "sigma": 0.8, "reflectors": 6, "bidirectional": True}
    fresh = KINDS[kind](3, 6, 2, **options, generator=generator(5))
    made = KINDS[kind](3, 6, 2, **options, generator=generator(1))
    held = dict(made.named_parameters())
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.fill_(0.25)
    made.reset_parameters(generator=generator(5))
    for name, parameter in fresh.named_parameters():
        assert torch.equal(held[name], parameter), name
    torch.manual_seed(3)
    made.reset_parameters()
    torch.manual_seed(3)
    assert torch.equal(made.weight_ih_l0, KINDS[kind](3, 6, 2, **options).weight_ih_l0)


@kinds
def test_reset_parameters_of_a_pack_draws_each_trial_with_its_own_options(kind):
    options = [
        {"init": "gaussian", "reflectors": (2, 3), "spectrum": "penalty", "sigma": 0.5},
        {"init": "identity", "reflectors": (4, 4), "spectrum": "penalty", "sigma": 1.5},
    ]
    pack = KINDS[kind].pack([KINDS[kind](3, 6, **each) for each in options])
    pack.reset_parameters(generator=generator(2))
    shared = generator(2)
    for k, each in enumerate(options):
        expected, trial = KINDS[kind](3, 6, **each, generator=shared), pack.trial(k)
        for name, parameter in trial.named_parameters():
            assert torch.equal(parameter, getattr(expected, name)), name
        trial.reset_parameters(generator=generator(7))
        again = KINDS[kind](3, 6, **each, generator=generator(7))
        assert torch.equal(trial.reflectors_v_l0, again.reflectors_v_l0)


@kinds
def test_a_module_made_on_meta_starts_after_reset_parameters(kind):
    made = KINDS[kind](3, 6, 2, device="meta").to_empty(device="cpu")
    made.reset_parameters(generator=generator(4))
    expected = KINDS[kind](3, 6, 2, generator=generator(4))
    x = torch.randn(5, 2, 3, generator=generator())
    assert torch.equal(made(x)[0], expected(x)[0])


@kinds
def test_parameters_are_on_the_default_device(kind):
    with torch.device("meta"):
        assert KINDS[kind](3, 6).weight_ih_l0.is_meta
        assert not KINDS[kind](3, 6, device="cpu", generator=generator()).weight_ih_l0.is_meta


@kinds
def test_all_weights_are_the_parameters_by_layer_and_direction(kind):
    made = KINDS[kind](3, 6, 11, bidirectional=True)
    plain = getattr(nn, kind.upper())(3, 6, 11, bidirectional=True)
    assert len(made.all_weights) == len(plain.all_weights) == 22
    flat = [id(parameter) for group in made.all_weights for parameter in group]
    assert flat == [id(parameter) for parameter in made.parameters()]
    assert made.all_weights[3][0] is made.weight_ih_l1_reverse
    made.flatten_parameters()


@kinds
def test_repr_shows_what_differs_from_the_defaults(kind):
    made = KINDS[kind](3, 6, 2, bias=False, batch_first=True, dropout=0.5, bidirectional=True, reflectors=(2, 3))
    options = "num_layers=2, bias=False, batch_first=True, dropout=0.5, bidirectional=True"
    name = KINDS[kind].__name__
    assert repr(made) == f"{name}(3, 6, {options}, reflectors=(2, 3), margin=0.01)"
    assert repr(KINDS[kind](3, 6, margin=0.1)) == f"{name}(3, 6, reflectors=(6, 6), margin=0.1)"
    fixed = KINDS[kind](3, 6, spectrum="fixed", sigma=0.5, init="identity")
    assert repr(fixed) == f"{name}(3, 6, spectrum='fixed', init='identity', reflectors=(6, 6), sigma=0.5)"
    pack = KINDS[kind].pack([KINDS[kind](3, 6, margin=0.1), KINDS[kind](3, 6, reflectors=2)])
    assert repr(pack).endswith("trials=2, reflectors=[(6, 6), (2, 2)], margin=[0.1, 0.01])")


def test_repr_shows_the_options_of_one_class_alone():
    assert repr(SpectralLSTM(3, 6, proj_size=2)) == "SpectralLSTM(3, 6, proj_size=2, reflectors=(2, 2), margin=0.01)"
    options = {"nonlinearity": "leaky_relu", "negative_slope": 0.2, "backend": "dense", "checkpoint_every": 4}
    shown = "nonlinearity='leaky_relu', negative_slope=0.2, backend='dense', checkpoint_every=4"
    assert repr(SpectralRNN(3, 6, **options)) == f"SpectralRNN(3, 6, {shown}, reflectors=(6, 6), margin=0.01)"


@kinds
def test_trials_of_a_pack_agree_in_directions(kind):
    both = [KINDS[kind](3, 6, bidirectional=flag) for flag in (False, True)]
    with pytest.raises(PackError, match="agree in bidirectional"):
        KINDS[kind].pack(both)
    with pytest.raises(PackError, match="agree in proj_size"):
        SpectralLSTM.pack([SpectralLSTM(3, 6, reflectors=2), SpectralLSTM(3, 6, reflectors=2, proj_size=3)])


@kinds
@pytest.mark.filterwarnings("ignore:Complex modules are a new feature")
def test_complex_parameters_are_refused(kind):
    with pytest.raises(SpectralError, match="complex"):
        KINDS[kind](3, 6, dtype=torch.complex64)
    made = KINDS[kind](3, 6)
    before = copy.deepcopy(made.state_dict())
    with pytest.raises(SpectralError, match="complex"):
        made.to(torch.complex64)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


@kinds
def test_an_unknown_init_is_refused(kind):
    with pytest.raises(OptionError, match="init must be one of gaussian, identity, henaff, cayley; found 'zeros'"):
        KINDS[kind](3, 6, init="zeros")


@kinds
@pytest.mark.parametrize("spectrum", ["sigmoid", "fixed"])
def test_a_module_made_on_meta_takes_a_state_dict_by_assignment(kind, spectrum):
    options = {"num_layers": 2, "bidirectional": True, "spectrum": spectrum, "margin": 0.3}
    saved = KINDS[kind](3, 6, **options, dtype=torch.float64, generator=generator())
    made = KINDS[kind](3, 6, **options, device="meta")
    made.load_state_dict(saved.state_dict(), assign=True)
    x = torch.randn(5, 2, 3, dtype=torch.float64, generator=generator())
    assert torch.equal(made(x)[0], saved(x)[0])
    assert torch.equal(made.penalty(), saved.penalty())


@kinds
def test_parameters_may_be_made_buffers(kind):
    made = KINDS[kind](3, 6, generator=generator())
    x = torch.randn(5, 2, 3, generator=generator())
    expected = made(x)[0]
    for name, parameter in list(made.named_parameters()):
        delattr(made, name)
        made.register_buffer(name, parameter.detach())
    assert torch.equal(made(x)[0], expected)
    assert torch.equal(made.double().float()(x)[0], expected)


@kinds
def test_a_saved_module_keeps_its_directions_and_its_projection(kind, tmp_path):
    options = {"proj_size": 4} if kind == "lstm" else {}
    made = KINDS[kind](3, 6, 2, bidirectional=True, batch_first=True, generator=generator(), **options).half()
    made.save_pretrained(tmp_path)
    loaded = KINDS[kind].from_pretrained(tmp_path)
    assert repr(loaded) == repr(made)
    assert all(torch.equal(value, made.state_dict()[name]) for name, value in loaded.state_dict().items())

"""Modules saved in a folder and loaded from it."""

import inspect
import json
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import spectral
from spectral import SVD, SpectralGRU, SpectralLinear, SpectralLSTM, SpectralRNN
from spectral.errors import MissingPackageError, OptionError, PretrainedError
from spectral.pretrained import PretrainedModule
from spectral.pretrained.configuration import NOT_STORED, SLOT, ModuleConfiguration, option_names
from tests.spectral.agreement import draw, generator

CLASSES = (SpectralRNN, SpectralLSTM, SpectralGRU, SpectralLinear, SVD)
classes = pytest.mark.parametrize("cls", CLASSES)
SIZES = {SpectralLinear: (3, 5), SVD: (5, 3)}
OTHER_THAN_DEFAULT = {
    "input_size": 3,
    "hidden_size": 6,
    "num_layers": 2,
    "nonlinearity": "leaky_relu",
    "bias": False,
    "batch_first": True,
    "dropout": 0.25,
    "bidirectional": True,
    "proj_size": 4,
    "backend": "torch_loop",
    "checkpoint_every": 7,
    "negative_slope": 0.2,
    "in_features": 3,
    "out_features": 5,
    "rows": 5,
    "cols": 3,
    "spectrum": "clip",
    "reflectors": (2, 1),
    "margin": 0.3,
    "sigma": 0.9,
}
"""A value of every option of every class that no class has as its default."""
UNAVAILABLE = {(SpectralRNN, "proj_size"), (SpectralGRU, "proj_size")}
"""Options that take one value alone."""


def build(cls, seed=0, **options):
    """Return a module with random singular values."""
    options = {"reflectors": (2, 1), "margin": 0.3, **options}
    module = cls(*SIZES.get(cls, (3, 6)), generator=generator(seed), **options)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += draw(*parameter.shape, seed=seed + 1, scale=0.1)
    return module


def output(module):
    """Return what a module makes of one input."""
    like = next(module.parameters())
    lead = () if module.trials is None else (module.trials,)
    x = draw(*lead, 4, 2, 3).to(like)
    found = module(x)
    return found[0] if isinstance(found, tuple) else found


def assert_same(found, expected):
    assert type(found) is type(expected)
    state = expected.state_dict()
    assert found.state_dict().keys() == state.keys()
    for name, value in found.state_dict().items():
        assert value.dtype == state[name].dtype, name
        assert torch.equal(value, state[name]), name
    assert ModuleConfiguration.of(found) == ModuleConfiguration.of(expected)
    assert not found.training
    assert torch.equal(output(found), output(expected.eval()))


@classes
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_loaded_module_is_the_saved_one(cls, dtype, tmp_path):
    module = build(cls, dtype=dtype)
    module.save_pretrained(tmp_path / "new" / "folder")
    assert_same(cls.from_pretrained(tmp_path / "new" / "folder"), module)
    assert_same(spectral.from_pretrained(str(tmp_path / "new" / "folder")), module)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_module_of_half_precision(dtype, tmp_path):
    module = build(SpectralLinear).to(dtype)
    module.save_pretrained(tmp_path)
    assert_same(SpectralLinear.from_pretrained(tmp_path), module)


@classes
@pytest.mark.parametrize("spectrum", ["penalty", "fixed"])
def test_a_pack_is_loaded_as_a_pack(cls, spectrum, tmp_path):
    pack = cls.pack([build(cls, k, reflectors=m, sigma=s, spectrum=spectrum) for k, m, s in ((0, 0, 1.0), (1, 3, 0.5))])
    pack.save_pretrained(tmp_path)
    found = spectral.from_pretrained(tmp_path)
    assert_same(found, pack)
    assert found.slots == pack.slots
    assert_same(found.trial(1), pack.trial(1).eval())


def test_a_pack_of_one_is_no_single_trial(tmp_path):
    SVD.pack([build(SVD)]).save_pretrained(tmp_path)
    assert SVD.from_pretrained(tmp_path).trials == 1


@classes
def test_every_option_of_the_constructor_is_saved(cls, tmp_path):
    """This fails for an option that is no attribute, and for a new one until a value is listed above."""
    parameters = inspect.signature(cls).parameters
    names = [*option_names(cls), *SLOT]
    assert set(names) | set(NOT_STORED) >= set(parameters)
    given = {name: OTHER_THAN_DEFAULT[name] for name in names if (cls, name) not in UNAVAILABLE}
    assert all(value != parameters[name].default for name, value in given.items())
    module = cls(**given, generator=generator())
    module.save_pretrained(tmp_path, card=False)
    stored = ModuleConfiguration.from_json((tmp_path / "config.json").read_bytes())
    loaded = ModuleConfiguration.of(cls.from_pretrained(tmp_path))
    for configuration in (stored, loaded):
        found = dict(configuration.named_options())
        assert {name: tuple(found[name]) if name == "reflectors" else found[name] for name in given} == given


def test_device_and_dtype_can_be_chosen(tmp_path):
    module = build(SpectralRNN)
    module.save_pretrained(tmp_path, card=False)
    found = SpectralRNN.from_pretrained(tmp_path, dtype=torch.float64, device="cpu")
    assert {p.dtype for p in found.parameters()} == {torch.float64}
    assert torch.equal(found.weight_ih_l0, module.weight_ih_l0.double())


def test_loading_draws_no_random_number_and_heeds_no_default(tmp_path):
    build(SpectralLSTM, dtype=torch.float32).save_pretrained(tmp_path, card=False)
    before = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        found = SpectralLSTM.from_pretrained(tmp_path)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), before)
    assert found.weight_ih_l0.dtype == torch.float32


def test_the_files_are_those_of_other_tools(tmp_path):
    module = build(SpectralGRU)
    module.save_pretrained(tmp_path, card=False)
    other = build(SpectralGRU, seed=5)
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(output(other), output(module))
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["library_name"] == "spectral-rnn-service"
    assert config["class_name"] == "SpectralGRU"
    assert config["options"]["hidden_size"] == 6
    assert config["slots"] == [{"reflectors": [2, 1], "margin": 0.3, "sigma": 1.0}]


def test_a_module_can_be_loaded_as_a_part_of_another_one(tmp_path):
    build(SpectralRNN).save_pretrained(tmp_path, card=False)
    net = nn.ModuleDict({"rnn": SpectralRNN.from_pretrained(tmp_path).train(), "out": nn.Linear(6, 1)})
    net["out"](net["rnn"](torch.zeros(2, 1, 3))[0]).sum().backward()
    assert net["rnn"].weight_ih_l0.grad is not None


class Tagged(SpectralLinear):
    """A class of another project, with an option of its own."""

    def __init__(self, in_features, out_features, *, tag="a", reflectors=None, margin=0.01, sigma=1.0, dtype=None):
        super().__init__(in_features, out_features, reflectors=reflectors, margin=margin, sigma=sigma, dtype=dtype)
        self.tag = tag


def test_a_derived_class_loads_itself_and_nobody_else_does(tmp_path):
    module = Tagged(3, 5, tag="b")
    module.save_pretrained(tmp_path, card=False)
    found = Tagged.from_pretrained(tmp_path)
    assert found.tag == "b"
    assert_same(found, module.eval())
    for load in (spectral.from_pretrained, SpectralLinear.from_pretrained):
        with pytest.raises(PretrainedError, match=r"a Tagged.*Call Tagged\.from_pretrained"):
            load(tmp_path)


def test_another_class_is_refused(tmp_path):
    build(SpectralRNN).save_pretrained(tmp_path, card=False)
    with pytest.raises(PretrainedError, match=r"it is of a SpectralRNN, not of a SVD\. Call SpectralRNN\.from"):
        SVD.from_pretrained(tmp_path)


def changed(path, **entries):
    """Change entries of a JSON file; a value ... removes one."""
    content = json.loads(path.read_text()) | entries
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"format_version": 2}, "format version 2, and this release reads version 1"),
        ({"format_version": ...}, "no format_version"),
        ({"class_name": "os.system"}, r"a os\.system, which is no class of this package"),
        ({"class_name": "PretrainedModule"}, r"takes \*args or \*\*kwargs"),
        ({"class_name": ["SVD"]}, "class_name must be a str"),
        ({"options": ...}, "options must be a dict; found None"),
        ({"options": {"rows": 5}}, "SVD cannot be built with its options: .*cols"),
        ({"options": {"rows": 5, "cols": 3, "colour": 1}}, "SVD has no option colour in this release"),
        ({"options": {"rows": "5", "cols": 3}}, "cannot be built with its options"),
        ({"options": {"rows": 5, "cols": 3, "spectrum": "free"}}, "spectrum must be one of"),
        ({"options": {"rows": 5, "cols": -3}}, "at least one"),
        ({"slots": []}, "number of slots"),
        ({"slots": [{"margin": 0.1}]}, "each of slots must have reflectors, margin, sigma"),
        ({"slots": [{"reflectors": [9, 1], "margin": 0.3, "sigma": 1.0}]}, "from 0 to 3"),
        ({"slots": [{"reflectors": "2", "margin": 0.3, "sigma": 1.0}]}, "reflectors must be"),
        ({"trials": 2}, "trials must be the number of slots"),
        ({"dtype": "load"}, "dtype must be one of float64"),
        ({"dtype": "complex64"}, "dtype must be one of float64"),
    ],
)
def test_a_changed_configuration_is_refused(entries, message, tmp_path):
    build(SVD).save_pretrained(tmp_path, card=False)
    changed(tmp_path / "config.json", **entries)
    with pytest.raises(PretrainedError, match=message) as caught:
        spectral.from_pretrained(tmp_path)
    assert str(tmp_path / "config.json") in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", "null", "\x00\xff", '"SVD"'])
def test_what_is_no_configuration_is_refused(text, tmp_path):
    build(SVD).save_pretrained(tmp_path, card=False)
    (tmp_path / "config.json").write_bytes(text.encode("latin1"))
    with pytest.raises(PretrainedError, match=r"config\.json: it (is not JSON|has no format_version)"):
        SVD.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("options", "slot", "message"),
    [
        ({"rows": 6, "cols": 3}, {}, r"reflectors_u should be \(6, 2\) torch\.float32 and is \(5, 2\) torch.float32"),
        ({"rows": 5, "cols": 3}, {"reflectors": [2, 2]}, r"reflectors_v should be \(3, 2\) .* and is \(3, 1\)"),
        ({"rows": 5, "cols": 3, "spectrum": "fixed"}, {}, "singular should be absent and is"),
    ],
)
def test_tensors_of_another_configuration_are_refused(options, slot, message, tmp_path):
    build(SVD).save_pretrained(tmp_path, card=False)
    config = json.loads((tmp_path / "config.json").read_text())
    changed(tmp_path / "config.json", options=options, slots=[config["slots"][0] | slot])
    with pytest.raises(PretrainedError, match=message):
        SVD.from_pretrained(tmp_path)


def test_another_margin_than_that_of_the_tensors_is_refused(tmp_path):
    build(SVD).save_pretrained(tmp_path, card=False)
    changed(tmp_path / "config.json", slots=[{"reflectors": [2, 1], "margin": 0.1, "sigma": 1.0}])
    with pytest.raises(PretrainedError, match="margin"):
        SVD.from_pretrained(tmp_path)


def test_changed_tensors_are_refused(tmp_path):
    build(SpectralLinear).save_pretrained(tmp_path, card=False)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    for name, value in (("bias", ...), ("bias", tensors["bias"].double()), ("other", torch.zeros(1))):
        others = {**tensors, name: value}
        save_file({key: tensor for key, tensor in others.items() if tensor is not ...}, path)
        with pytest.raises(PretrainedError, match=rf"do not fit config\.json: {name} should be"):
            SpectralLinear.from_pretrained(tmp_path)


def test_missing_and_broken_files_are_refused(tmp_path):
    with pytest.raises(PretrainedError, match=r"nowhere/config\.json cannot be read: No such file"):
        SVD.from_pretrained(tmp_path / "nowhere")
    build(SVD).save_pretrained(tmp_path, card=False)
    path = tmp_path / "model.safetensors"
    content = path.read_bytes()
    for broken in (content[:-1], content[:20], b"", pickle.dumps(build(SVD))):
        path.write_bytes(broken)
        with pytest.raises(PretrainedError, match=r"model\.safetensors is no whole safetensors file"):
            SVD.from_pretrained(tmp_path)
    path.unlink()
    with pytest.raises(PretrainedError, match=r"model\.safetensors cannot be read: No such file"):
        SVD.from_pretrained(tmp_path)


def test_a_save_that_fails_leaves_the_earlier_one(tmp_path, monkeypatch):
    module = build(SpectralRNN)
    module.save_pretrained(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 1:
            raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        build(SpectralRNN, seed=3).save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert_same(SpectralRNN.from_pretrained(tmp_path), module)


def test_a_save_that_is_cut_off_is_not_taken_for_a_whole_one(tmp_path, monkeypatch):
    build(SVD).save_pretrained(tmp_path)
    replace = Path.replace

    def cut_off(path, target):
        if Path(target).name == "config.json":
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", cut_off)
    with pytest.raises(KeyboardInterrupt):
        build(SVD, seed=3).save_pretrained(tmp_path)
    with pytest.raises(PretrainedError, match=r"config\.json cannot be read"):
        SVD.from_pretrained(tmp_path)


def test_a_missing_safetensors_is_named(tmp_path, monkeypatch):
    build(SVD).save_pretrained(tmp_path)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    for call in (SVD.from_pretrained, build(SVD).save_pretrained):
        with pytest.raises(MissingPackageError, match=r'pip install "spectral-rnn-service\[export\]"'):
            call(tmp_path)


def test_what_cannot_be_saved_is_named(tmp_path):
    class Unnamed(SVD):
        def __init__(self, *sizes):
            super().__init__(*sizes)

    class Forgetful(SVD):
        def __init__(self, rows, cols, colour="red"):
            super().__init__(rows, cols)

    class Rich(SVD):
        def __init__(self, rows, cols, colours=("red",)):
            super().__init__(rows, cols)
            self.colours = colours

    with pytest.raises(OptionError, match=r"Unnamed takes \*args or \*\*kwargs"):
        Unnamed(3, 3).save_pretrained(tmp_path)
    with pytest.raises(OptionError, match=r"takes the argument 'colour' .* set self\.colour in the constructor"):
        Forgetful(3, 3).save_pretrained(tmp_path)
    with pytest.raises(OptionError, match="option 'colours' of Rich must be"):
        Rich(3, 3).save_pretrained(tmp_path)
    mixed = build(SpectralLinear)
    mixed.bias = nn.Parameter(mixed.bias.double())
    with pytest.raises(OptionError, match=r"one dtype of .*; found float32, float64"):
        mixed.save_pretrained(tmp_path)
    with pytest.raises(OptionError, match=r"must be a tensor with data; found .* without data"):
        build(SVD).to("meta").save_pretrained(tmp_path)
    parametrized = nn.utils.parametrizations.weight_norm(build(SpectralRNN), "weight_ih_l0")
    with pytest.raises(OptionError, match=r"parametrizations.* undo what has changed it"):
        parametrized.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_modules_of_the_package_are_all_covered():
    def derived(cls):
        return {cls} | {one for child in cls.__subclasses__() for one in derived(child)}

    own = {cls for cls in derived(PretrainedModule) if cls.__module__.startswith("spectral.")}
    assert {cls for cls in own if cls.__name__ in spectral.__all__} == set(CLASSES)

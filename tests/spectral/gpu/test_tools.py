"""torch's compiler, exporter and transforms through the kernels of the transition, in the interpreter."""

import pytest
import torch
from torch.func import functional_call, grad, stack_module_state, vmap

from spectral import SpectralRNN
from spectral.gpu import device
from tests.spectral.agreement import NO_TRITON, draw, generator

pytestmark = NO_TRITON


@pytest.fixture(autouse=True)
def kernels_of_a_gpu(monkeypatch):
    """Use the kernels on the CPU too, and count how often they start."""
    torch._dynamo.reset()
    calls, launch = [], device.launch

    def runs(*_):
        return True

    def counted(name, *arguments, **options):
        calls.append(name.partition(".")[2])
        launch(name, *arguments, **options)

    runs._dynamo_marked_constant = True
    monkeypatch.setattr(device, "runs", runs)
    monkeypatch.setattr(device, "launch", counted)
    return calls


def net(**options):
    return SpectralRNN(2, 6, reflectors=2, backend="torch_loop", generator=generator(), **options).double()


def step(function, module, x):
    output = function(x)[0]
    return [output, *torch.autograd.grad(output.square().sum(), list(module.parameters()))]


def assert_same(found, expected):
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("packed", [False, True])
def test_an_eager_step_starts_five_kernels(packed, kernels_of_a_gpu, monkeypatch):
    module = SpectralRNN.pack([net(), net(margin=0.2)]) if packed else net()
    x = draw(*((2,) if packed else ()), 3, 2, 2)
    found = step(module, module, x)
    monkeypatch.setattr(device, "runs", lambda *_: False)
    assert_same(found, step(module, module, x))
    monkeypatch.setattr(device, "runs", lambda *_: True)
    module.normalize_()
    assert kernels_of_a_gpu == [
        "singular_map",
        "factors",
        "factors_backward",
        "singular_map_backward",
        "normalize",
    ]


def test_a_compiled_step_starts_the_kernels_of_the_transition(kernels_of_a_gpu):
    module, x = net(), draw(3, 2, 2)
    expected = step(module, module, x)
    kernels_of_a_gpu.clear()
    assert_same(step(torch.compile(module, fullgraph=True, backend="aot_eager"), module, x), expected)
    assert kernels_of_a_gpu == ["factors", "factors_backward"], "a compiler fuses the map of singular values itself"


@pytest.mark.parametrize("strict", [True, False])
def test_an_exported_program(strict):
    module, x = net(), draw(3, 2, 2)
    exported = torch.export.export(module, (x,), strict=strict).module()
    assert_same([exported(x)[0]], [module(x)[0]])
    loss = exported(x)[0].square().sum()
    found = dict(
        zip(dict(exported.named_parameters()), torch.autograd.grad(loss, list(exported.parameters())), strict=True)
    )
    expected = step(module, module, x)[1:]
    assert_same([found[name] for name, _ in module.named_parameters()], expected)


def test_transforms_of_torch_func(kernels_of_a_gpu):
    modules = [net() for _ in range(3)]
    with torch.no_grad():
        for k, module in enumerate(modules):
            for parameter in module.parameters():
                parameter.mul_(1 + 0.1 * k)
    x = draw(3, 2, 2)
    parameters, buffers = stack_module_state(modules)
    kernels_of_a_gpu.clear()
    found = vmap(lambda p, b: functional_call(modules[0], (p, b), (x,))[0])(parameters, buffers)
    assert kernels_of_a_gpu == ["singular_map", "factors"], "a mapped axis becomes the axis of trials"
    assert_same([found], [SpectralRNN.pack(modules)(x.expand(3, *x.shape))[0]])
    named = dict(modules[0].named_parameters())
    gradients = grad(lambda p: functional_call(modules[0], p, (x,))[0].square().sum())(named)
    assert_same(list(gradients.values()), step(modules[0], modules[0], x)[1:])

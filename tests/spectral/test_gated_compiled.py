"""SpectralLSTM and SpectralGRU under torch.compile and torch.export, also with sequences of different lengths."""

import pytest
import torch

from spectral import SpectralGRU, SpectralLSTM
from tests.spectral.agreement import assert_near, draw, generator, gradients, parts

F64 = torch.float64
CASES = [
    (SpectralLSTM, {}),
    (SpectralGRU, {"bias": False, "bidirectional": True}),
    (SpectralLSTM, {"num_layers": 2, "proj_size": 4, "bidirectional": True}),
]
cases = pytest.mark.parametrize(("cls", "options"), CASES, ids=str)

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def net(cls, **options):
    return cls(3, 6, margin=0.3, dtype=F64, generator=generator(), **options)


@cases
@pytest.mark.parametrize("lengths", [None, [3, 5, 1]], ids=["whole", "lengths"])
def test_a_compiled_module_has_no_graph_break_and_gives_the_same(cls, options, lengths):
    torch.compiler.reset()
    made = net(cls, **options)
    compiled = torch.compile(made, fullgraph=True, backend="eager")
    x, lengths = draw(5, 3, 3).requires_grad_(), None if lengths is None else torch.tensor(lengths)
    found, expected = (parts(module(x, lengths=lengths)) for module in (compiled, made))
    inputs = [x, *made.parameters()]
    grads = [gradients(torch.cat([p.flatten() for p in each]), inputs) for each in (found, expected)]
    for f, e in zip(found + grads[0], expected + grads[1], strict=True):
        assert_near(f, e, 4000)


@cases
def test_an_exported_module_takes_other_lengths(cls, options):
    made = net(cls, **options).eval()
    x, lengths = draw(5, 3, 3), torch.tensor([3, 5, 1])
    exported = torch.export.export(made, (x,), {"lengths": torch.tensor([5, 5, 2])}).module()
    for f, e in zip(parts(exported(x, lengths=lengths)), parts(made(x, lengths=lengths)), strict=True):
        assert_near(f, e, 2000)


def test_dropout_of_the_compiled_loop_lies_between_layers_and_only_in_training():
    torch.compiler.reset()
    made = net(SpectralLSTM, num_layers=2, dropout=1.0)
    compiled = torch.compile(made, fullgraph=True, backend="eager")
    x, lengths = draw(4, 2, 3), torch.tensor([4, 2])
    assert torch.equal(compiled(x, lengths=lengths)[0], compiled(2 * x, lengths=lengths)[0])
    made.eval()
    assert_near(compiled(x, lengths=lengths)[0], made(x, lengths=lengths)[0], 2000)

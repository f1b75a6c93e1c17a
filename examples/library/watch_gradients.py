# %% [markdown]
# # Gradients through time
#
# How much of the gradient at the last step reaches the first step? This program computes |dL/dh_t| over 300 steps for
# `torch.nn.RNN`, and for spectral nets with a narrow and with a wide band. L reads only the last state, so everything
# that arrives at step t came through W and phi'. modReLU is linear until its offset moves, so with it only the singular
# values matter.

# %%
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from spectral import SpectralRNN

STEPS, UNITS = 300, 64
torch.manual_seed(0)
x = torch.randn(STEPS, 16, 4)
weights = torch.randn(UNITS)


# %% The gradient at one step: cut the sequence there, and let h_t be the initial state of the rest
def gradient_norms(net: nn.Module, times: list[int]) -> Tensor:
    """Return |dL/dh_t| for each of ``times``, a norm over batch and units."""
    states = net(x)[0].detach()
    norms = []
    for t in times:
        h = states[t].clone().requires_grad_()
        last = net(x[t + 1 :], h.unsqueeze(0))[1] if t + 1 < STEPS else h
        (gradient,) = torch.autograd.grad((last * weights).sum(), h)
        norms.append(gradient.norm())
    return torch.stack(norms)


# %% Four nets before training
def spectral(nonlinearity: str, margin: float, reflectors: int) -> SpectralRNN:
    """Return a net with singular values drawn from the whole band, where training may move them."""
    net = SpectralRNN(4, UNITS, nonlinearity=nonlinearity, reflectors=reflectors, margin=margin)
    with torch.no_grad():
        net.singular_l0.normal_(std=3.0)
    return net


nets = {
    "torch.nn.RNN, tanh": nn.RNN(4, UNITS),
    "spectral, modReLU, r = 1 / T": spectral("modrelu", 1 / STEPS, 4),
    "spectral, leaky ReLU, r = 1 / T": spectral("leaky_relu", 1 / STEPS, 4),
    "spectral, modReLU, r = 0.1": spectral("modrelu", 0.1, 4),
}
times = [*range(0, STEPS, 20), STEPS - 1]
norms = {name: gradient_norms(net, times) for name, net in nets.items()}
ratios = {name: float(values[0] / values[-1]) for name, values in norms.items()}
for name, ratio in ratios.items():
    print(f"{name:34} |dL/dh_0| / |dL/dh_T| = {ratio:.2g}")

# %% The picture
figure, axes = plt.subplots(figsize=(7, 4))
for name, values in norms.items():
    axes.semilogy(times, values.clamp(min=1e-30), label=name)
axes.set(xlabel="t", ylabel="|dL/dh_t|", title="How much of the gradient at the last step reaches step t")
axes.legend()
figure.tight_layout()
figure.savefig("gradients.png", dpi=120)
print("see gradients.png")

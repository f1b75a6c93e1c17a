# %% [markdown]
# # Gradients through time
#
# How much of the gradient at the last step reaches the first? |dL/dh_t| for `torch.nn.RNN`, and for spectral nets of a
# narrow and of a wide band, over 300 steps. L reads the last state alone, so all that arrives at t came through W and
# phi'. modReLU is linear until its offset moves: there the singular values alone decide.

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
wanted = torch.randn(UNITS)


# %% The gradient at one step: cut the sequence there, and let h_t be where the rest begins
def gradient_norms(net: nn.Module, times: list[int]) -> Tensor:
    """|dL/dh_t| for each of `times`, one norm over batch and units."""
    states = net(x)[0].detach()
    norms = []
    for t in times:
        h = states[t].clone().requires_grad_()
        last = net(x[t + 1 :], h.unsqueeze(0))[1] if t + 1 < STEPS else h
        (gradient,) = torch.autograd.grad((last * wanted).sum(), h)
        norms.append(gradient.norm())
    return torch.stack(norms)


# %% Four nets as they start
def spectral(nonlinearity: str, margin: float, reflectors: int) -> SpectralRNN:
    """Singular values drawn all over the band, as training may leave them."""
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
ratios = {name: float(found[0] / found[-1]) for name, found in norms.items()}
for name, ratio in ratios.items():
    print(f"{name:34} |dL/dh_0| / |dL/dh_T| = {ratio:.2g}")

# %% The picture
figure, axes = plt.subplots(figsize=(7, 4))
for name, found in norms.items():
    axes.semilogy(times, found.clamp(min=1e-30), label=name)
axes.set(xlabel="t", ylabel="|dL/dh_t|", title="What of the gradient at the last step reaches step t")
axes.legend()
figure.tight_layout()
figure.savefig("gradients.png", dpi=120)
print("see gradients.png")

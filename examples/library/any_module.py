# %% [markdown]
# # Spectral weights in existing modules
#
# `spectral.spectral_svd` works on the weight of any torch module, through `torch.nn.utils.parametrize`. Here it is used
# on a convolution, an LSTM and a linear layer of one small net, which reads scikit-learn's 8 x 8 digits row by row.

# %%
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.utils.parametrize import cached, remove_parametrizations

from spectral import spectral_svd

torch.manual_seed(0)
digits = load_digits()
pictures = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(digits.target)
train, test = slice(0, 1297), slice(1297, None)


class Reader(nn.Module):
    """A net from pictures (B, 1, 8, 8) to scores (B, 10): a convolution, an LSTM over the rows, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.rows = nn.LSTM(64, 48, batch_first=True)
        self.head = nn.Linear(48, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the scores of each picture."""
        features = torch.relu(self.conv(pictures)).permute(0, 2, 1, 3).flatten(2)
        scores: Tensor = self.head(self.rows(features)[0][:, -1])
        return scores


# %% The weights become reflectors and singular values; the rest of the net does not change
net = Reader()
spectral_svd(net.conv, "weight", margin=0.2)
spectral_svd(net.rows, "weight_hh_l0", reflectors=8, margin=0.05, gates=True)  # one SVD for each gate
nn.init.orthogonal_(net.head.weight)
spectral_svd(net.head, "weight", margin=0.1, init="weight")  # keeps the present weight, which fits the band

# %% Training is the same as always. Make the optimiser afterwards, since the parameters are new
optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
svds = [net.conv.parametrizations.weight[0].svd, net.rows.parametrizations.weight_hh_l0[0].svd]
for _ in range(10):
    for rows in torch.randperm(1297).split(64):
        with cached():  # forms W once a step, even if it is read several times
            loss = nn.functional.cross_entropy(net(pictures[train][rows]), labels[train][rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for svd in svds:
            svd.normalize_()

# %% The singular values are inside their bands
with torch.no_grad():
    accuracy = (net(pictures[test]).argmax(1) == labels[test]).float().mean().item()
    gates = net.rows.weight_hh_l0.chunk(4)
    spread = max((torch.linalg.svdvals(gate) - 1).abs().max().item() for gate in gates)
print(f"test accuracy {accuracy:.3f}; gates' singular values within {spread:.4f} of 1, the margin is 0.05")

# %% Back to a plain module
before = net(pictures[test])
remove_parametrizations(net.conv, "weight")
remove_parametrizations(net.rows, "weight_hh_l0")
remove_parametrizations(net.head, "weight")
after = net(pictures[test])
print(f"plain again: {sorted(name for name, _ in net.named_parameters())}")

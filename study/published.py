"""The table PUBLISHED: results of others to compare with, by experiment; "not found" if there is no figure."""

from __future__ import annotations

from study.tables import Published

NOT_FOUND = "not found"
PAPER = "Zhang, Lei and Dhillon 2018 and its earlier text"
FASTGRNN = "Kusupati et al. 2018 (FastGRNN)"
SECOND_HAND = "second-hand, its source not found"
ORTHOGONAL = "Helfrich et al. 2018; Lezcano-Casado and Martinez-Rubio 2019; Lezcano-Casado 2019"

PUBLISHED: dict[str, tuple[Published, ...]] = {
    "copy": (
        Published("Spectral-RNN on this task", NOT_FOUND, PAPER),
        Published("LSTM, T = 1000", "stays at the baseline", SECOND_HAND),
        Published(
            "scoRNN; expRNN; CWY, T = 1000",
            "solve it; no figure of loss in nats found",
            "Helfrich et al. 2018; Lezcano-Casado and Martinez-Rubio 2019; Likhosherstov et al. 2021",
        ),
    ),
    "adding": (
        Published("Spectral-RNN on this task", NOT_FOUND, PAPER),
        Published("uRNN, LSTM, T = 750", "do not reach 0", "Arjovsky et al. 2016 (uRNN)"),
        Published("GRU, T = 600", "MSE 5e-5", SECOND_HAND),
        Published("LEM, T = 2000", "MSE 5e-5", "Rusch et al. 2022 (LEM)"),
    ),
    "mnist": (
        Published("Spectral-RNN, 784 steps, n = 256, 16 + 16, about 13k parameters", "97.6 %", PAPER),
        Published("Spectral-RNN, 784 steps, about 5.5k parameters", "97.70 %", FASTGRNN),
        Published("AntisymmetricRNN, 784 steps, 10k parameters", "98.0 %", "Chang et al. 2019"),
        Published(
            "coRNN; LEM, 784 steps, 70k to 134k parameters",
            "99.4 %; 99.5 %",
            "Rusch and Mishra 2021; Rusch et al. 2022",
        ),
        Published("LSTM, 784 steps", "97.3 %", SECOND_HAND),
        Published("Spectral-RNN, 784 steps, permuted", NOT_FOUND, PAPER),
        Published("scoRNN; expRNN; dtriv, permuted, n = 170, 16k parameters", "94.8 %; 94.9 %; 95.2 %", ORTHOGONAL),
        Published("scoRNN; expRNN; dtriv, permuted, n = 512", "96.6 %; 96.6 %; 96.8 %", ORTHOGONAL),
        Published("LSTM, permuted", "92 % to 92.6 %", SECOND_HAND),
        Published("any of them in 28 or 112 steps", NOT_FOUND, "-"),
    ),
    "mlp": (
        Published("plain net, n = 128", "fails beyond 35 layers", PAPER),
        Published("residual net, n = 128", "fails beyond 70 layers", PAPER),
        Published("spectral nets, n = 128", "do not fail", PAPER),
        Published("test accuracy by depth", NOT_FOUND, PAPER),
    ),
    "gradients": (Published("share of steps with a ratio in this band", NOT_FOUND, "-"),),
    "ucr": (Published("test accuracy on these four sets", NOT_FOUND, PAPER),),
    "ptb": (
        Published("Spectral-RNN, words, 300 steps, trained on the train file", "perplexity 130.2", FASTGRNN),
        Published("RNN; LSTM; FastGRNN, words, 300 steps", "perplexity 144.7; 117.4; 116.1", FASTGRNN),
        Published("Spectral-RNN, characters", NOT_FOUND, PAPER),
        Published("expRNN, characters, 1.3M parameters, 150 / 300 steps", "1.43 / 1.44 bpc", "Kerg et al. 2019"),
        Published("nnRNN, characters, 1.3M parameters, 150 / 300 steps", "1.40 / 1.42 bpc", "Kerg et al. 2019"),
    ),
    "phase": (Published("a diagram over these coordinates", NOT_FOUND, "-"),),
}

"""The experiments of the study, in the order of docs/results.md."""

from study.experiments.adding import AddingExperiment
from study.experiments.copy_memory import CopyMemory
from study.experiments.deep import DeepNets
from study.experiments.experiment import Experiment
from study.experiments.gradients import Gradients
from study.experiments.mnist import MnistSteps
from study.experiments.phase import PhaseDiagram
from study.experiments.ptb import PennTreebankExperiment
from study.experiments.ucr import UcrSets
from study.published import PUBLISHED

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        CopyMemory(
            "copy-500",
            "Copy, T = 500",
            "Ten symbols are repeated after 500 blanks.",
            PUBLISHED["copy"],
            ratio=0.05,
            steps=1000,
            seconds=180,
        ),
        CopyMemory(
            "copy-1000",
            "Copy, T = 1000",
            "The same after 1,000 blanks.",
            PUBLISHED["copy"],
            ratio=0.08,
            recall=0.95,
            seconds=600,
        ),
        AddingExperiment(
            "adding",
            "Adding problem",
            "The sum of the two marked numbers of a sequence, squared error.",
            PUBLISHED["adding"],
            seconds={200: 300, 400: 900},
        ),
        MnistSteps(
            "mnist",
            "MNIST by rows, patches and pixels",
            "Ten digits; 5,000 training images select.",
            PUBLISHED["mnist"],
        ),
        DeepNets("mlp", "Nets of 100 and 200 layers", "Flat MNIST through n x n layers.", PUBLISHED["mlp"]),
        Gradients(
            "gradients",
            "Gradients over training",
            "|dL/dh_0| / |dL/dh_T| of the training loss at every report on the copy task.",
            PUBLISHED["gradients"],
        ),
        UcrSets("ucr", "UCR time series", "Four sets of the archive with their official split.", PUBLISHED["ucr"]),
        PennTreebankExperiment(
            "ptb", "Penn Treebank", "The next character or word, at equal numbers of parameters.", PUBLISHED["ptb"]
        ),
        PhaseDiagram(
            "phase",
            "Phase diagram",
            "Which margins, reflectors, activations and starts train, by short trials.",
            PUBLISHED["phase"],
        ),
    )
}

__all__ = ["EXPERIMENTS", "Experiment"]

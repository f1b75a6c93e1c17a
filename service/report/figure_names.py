"""The names of the figures of a report, and what each is good for. This module imports nothing."""

from __future__ import annotations

from typing import Literal, get_args

FigureName = Literal[
    "results",
    "learning_curves",
    "best_so_far",
    "importance",
    "parallel_coordinates",
    "pareto",
    "spectrum",
    "gradients",
]
FigureKind = Literal["png", "svg"]
"""The kinds of files of figures."""
FIGURE_NAMES: tuple[FigureName, ...] = get_args(FigureName)
OF_ONE_TRIAL: frozenset[FigureName] = frozenset({"spectrum", "gradients"})
"""The figures that show one trial, the best one unless another is asked for."""
QUESTIONS: dict[FigureName, str] = {
    "results": "Which values are good? The objective over what was swept, with repeats and failures.",
    "learning_curves": "Were the trials trained long enough? The objective over the steps.",
    "best_so_far": "Was the sweep long enough, and what did it cost? The best objective over trials and device-hours.",
    "importance": "Which fields matter? What the best trials have in common, by PED-ANOVA.",
    "parallel_coordinates": "Which combinations are good? One line for each trial.",
    "pareto": "What does a better objective cost? The trials that no other one beats in all objectives.",
    "spectrum": "Do the singular values use their band? Those of the best trial over training.",
    "gradients": "Do gradients vanish or explode? Their norms over time in the best trial.",
}
"""The question that each figure answers."""

"""Samplers that learn: what they promise after a crash, that they learn, and what a proposal costs."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.workers.examples import sweep_document
from workers.spec.expand import next_points, plan_trial
from workers.spec.parse import parse_sweep
from workers.spec.samplers import SAMPLERS, LearningSampler, Observation, learning
from workers.spec.samplers.gp import GPSampler
from workers.spec.samplers.optuna_study import OptunaStudy
from workers.spec.search_space import Params
from workers.spec.sweep import SweepSpec

LEARNERS = [name for name, sampler in SAMPLERS.items() if sampler.learns]
every_learner = pytest.mark.parametrize(
    # a proposal of a Gaussian process takes about half a second
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name == "gp" else []) for name in LEARNERS],
)

NUMBERS: dict[str, Any] = {
    "training.lr": {"low": 0.0001, "high": 1.0, "log": True},
    "training.weight_decay": {"low": 0.0, "high": 0.4, "step": 0.05},
    "model.reflectors": {"low": 1, "high": 6},
    "training.batch_size": [2, 4, 8, 16],
}
CHOICES: dict[str, Any] = NUMBERS | {
    "model.kind": ["spectral_rnn", "lstm"],
    "model.reflectors": {"low": 1, "high": 6, "when": {"model.kind": "spectral_rnn"}},
}
RULE = "training.lr * training.batch_size < 8"


def searching(name: str, trials: int, seed: int = 0, **search: Any) -> SweepSpec:
    """Return a sweep with every kind of dimension that the sampler takes, a condition among them, and a constraint."""
    space = CHOICES if name in ("tpe", "random") else NUMBERS
    search = {"sampler": name, "trials": trials, "seed": seed, "constraints": [RULE], **search}
    return parse_sweep(sweep_document(space=space, search=search))


def loss(point: Params) -> float | None:
    """A smooth objective with its least value 0 at lr 0.01, decay 0.1; None and 1e30 for some points that diverge."""
    lr, decay = float(point["training.lr"]), float(point["training.weight_decay"])
    if lr > 0.7:
        return None
    if lr > 0.5:
        return 1e30
    away = float(point.get("model.reflectors", 8)) / 20 + math.log2(float(point["training.batch_size"])) / 10
    return math.log10(lr / 0.01) ** 2 + (decay - 0.1) ** 2 * 10 + away


def undisturbed(sweep: SweepSpec, seed: int) -> tuple[list[Params], list[int]]:
    """Run a sweep whose trials end in an order that the seed decides; return its points and that order."""
    rng, known, order = random.Random(seed), list[Observation](), list[int]()
    while len(order) < (sweep.search.trials or 0):
        known += [Observation(len(known) + i, point) for i, point in enumerate(next_points(sweep, known))]
        ended = rng.choice([trial for trial in known if not trial.ended])
        known[ended.number] = end(ended, len(order))
        order.append(ended.number)
    return [trial.params for trial in known], order


def end(trial: Observation, place: int) -> Observation:
    return replace(trial, objective=loss(trial.params), ended=True, place=place)


def disturbed(sweep: SweepSpec, order: Sequence[int], seed: int) -> list[Params]:
    """Run a sweep whose trials end in an order, with a controller that crashes and is away; return its points.

    The controller crashes between asking and telling, so that the answer is lost, with all that is in memory. It asks
    late, when further trials have ended, and sees values of trials that run.
    """
    rng, known, places = random.Random(seed), list[Observation](), iter(range(len(order)))
    place = next(places)
    while True:
        due = order[place] if place < len(order) else None
        if due is None or due >= len(known) or rng.random() < 0.6:
            fresh = next_points(sweep, known)
            if rng.random() < 0.5:
                learning._studies.clear()
            if rng.random() < 0.5:
                continue  # it crashed before it could store them
            known += [Observation(len(known) + i, point, objective=rng.random()) for i, point in enumerate(fresh)]
            if due is None:
                return [trial.params for trial in known]
            continue
        known[due] = end(known[due], place)
        place = next(places, len(order))


@pytest.mark.parametrize(
    ("name", "seeds", "trials", "options"),
    [
        ("tpe", 20, 18, {"startup_trials": 5, "concurrent": 4}),
        ("cma_es", 20, 22, {"concurrent": 5, "population": 4}),
        pytest.param("gp", 2, 7, {"startup_trials": 3, "concurrent": 2}, marks=pytest.mark.slow),
    ],
)
def test_a_crash_between_ask_and_tell_changes_no_proposal(
    name: str, seeds: int, trials: int, options: dict[str, int]
) -> None:
    for seed in range(seeds):
        sweep = searching(name, trials, seed, options=options)
        points, order = undisturbed(sweep, seed)
        assert disturbed(sweep, order, seed) == points
        assert len({tuple(point.items()) for point in points}) > trials / 2
        values = [float(point["training.lr"]) * float(point["training.batch_size"]) for point in points]
        assert max(values) < 8


@every_learner
def test_the_order_in_which_trials_end_matters(name: str) -> None:
    """Otherwise the test above would hold for a sampler that learns nothing."""
    population = {"population": 4} if name == "cma_es" else {}
    sweep = searching(
        name, {"gp": 7, "tpe": 12, "cma_es": 30}[name], options={"startup_trials": 3, "concurrent": 3, **population}
    )
    found = {tuple(map(str, undisturbed(sweep, seed)[0])) for seed in range(3)}
    assert len(found) > 1


def known_trials(sampler: LearningSampler, count: int) -> list[Observation]:
    """Return trials that were proposed one after another, each when all before it had ended."""
    known: list[Observation] = []
    while len(known) < count:
        known.append(end(Observation(len(known), sampler.propose(len(known), known)), len(known)))
    return known


def sampler_for(name: str, trials: int, **options: int) -> LearningSampler:
    from workers.spec.expand import sampler_of

    found = sampler_of(searching(name, trials, options={"concurrent": 1, **options}))
    assert isinstance(found, LearningSampler)
    return found


@every_learner
def test_a_study_in_memory_and_one_made_anew_propose_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 6 if name == "gp" else 12
    sampler = sampler_for(name, count, startup_trials=3)
    known = known_trials(sampler, count)
    for number in range(3, count):
        learning._studies.clear()
        assert sampler.propose(number, known[:number]) == known[number].params
        learning._studies.clear()
    # another sweep with the same document, whose trials had other results, gets the study of its own trials
    others = [replace(trial, objective=-(trial.objective or 0.0)) for trial in known]
    expected = sampler.propose(count - 1, others[:-1])
    sampler.propose(count - 1, known[:-1])
    assert sampler.propose(count - 1, others[:-1]) == expected


def test_a_proposal_adds_to_the_study_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep of 2,000 trials would take hours if each proposal told Optuna all earlier trials."""
    added: list[int] = []
    add = OptunaStudy.add
    monkeypatch.setattr(OptunaStudy, "add", lambda study, trial: (added.append(trial.number), add(study, trial)))
    for name in ("tpe", "cma_es"):
        learning._studies.clear()
        added.clear()
        known_trials(sampler_for(name, 30, startup_trials=1), 30)
        assert sorted(added) == list(range(29))


def test_few_studies_are_kept() -> None:
    for seed in range(learning.KEPT_STUDIES + 3):
        sweep = searching("tpe", 4, seed, options={"startup_trials": 1, "concurrent": 1})
        next_points(
            sweep,
            [
                Observation(
                    0,
                    {"training.lr": 0.1, "training.weight_decay": 0.1, "training.batch_size": 2, "model.kind": "lstm"},
                    1.0,
                    True,
                    0,
                )
            ],
        )
    assert len(learning._studies) == learning.KEPT_STUDIES


@every_learner
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_it_finds_better_points_than_random_search(name: str, direction: str) -> None:
    trials = 18 if name == "gp" else 60

    def best(sampler: str, seed: int) -> float:
        search = {"sampler": sampler, "trials": trials, "seed": seed}
        if sampler != "random":
            search["options"] = {"concurrent": 2}
        document = sweep_document(
            space=NUMBERS, search=search, objective={"metric": "val/loss", "direction": direction}
        )
        sweep, known = parse_sweep(document), list[Observation]()
        while len(known) < trials:
            known += [Observation(len(known) + i, point) for i, point in enumerate(next_points(sweep, known))]
            for trial in known:
                if not trial.ended:
                    value = loss(trial.params)
                    signed = value if value is None or direction == "minimize" else -value
                    known[trial.number] = replace(trial, objective=signed, ended=True, place=trial.number)
        return min(value for trial in known if (value := loss(trial.params)) is not None)

    seeds = range(1 if name == "gp" else 4)
    assert sum(best(name, seed) for seed in seeds) < sum(best("random", seed) for seed in seeds)


def test_until_there_are_results_points_are_those_of_random_search() -> None:
    tpe, plain = searching("tpe", 8), searching("random", 8)
    assert next_points(tpe, []) == next_points(plain, [])


@every_learner
def test_points_that_cannot_be_trained_are_asked_for_again(name: str) -> None:
    """More reflectors than hidden units cannot be trained; random points are checked at submit."""
    space = {"model.hidden_size": {"low": 4, "high": 32}, "model.reflectors": {"low": 1, "high": 6}}
    options, trials = {"startup_trials": 1, "concurrent": 1}, 5 if name == "gp" else 10
    document = sweep_document(space=space, search={"sampler": name, "trials": trials, "options": options})
    document["search"]["constraints"] = ["model.reflectors <= 4 or model.hidden_size >= 6"]
    sweep, known = parse_sweep(document), list[Observation]()
    while len(known) < trials:
        (point,) = next_points(sweep, known)
        assert plan_trial(sweep, len(known), point).error is None
        known.append(Observation(len(known), point, float(point["model.hidden_size"]), True, len(known)))


@every_learner
def test_it_waits_for_as_many_results_as_it_says(name: str) -> None:
    sampler = sampler_for(name, 20, concurrent=3)
    known = [Observation(number, sampler.propose(number, ())) for number in range(3)]
    assert sampler.is_ready(2, known[:2])
    assert not sampler.is_ready(3, known)
    known[1] = end(known[1], 0)
    assert sampler.is_ready(3, known)


def test_a_gaussian_process_is_not_blinded_by_one_diverged_trial() -> None:
    sampler = GPSampler({}, seed=0, trials=4, direction="minimize")
    assert sampler.values([1.0, 2.0, 3.0, 1e30]) == [1.0, 2.0, 3.0, 16.0]
    assert sampler.values([1.0, 1.0, 1.0, 5.0]) == [1.0, 1.0, 1.0, 5.0]
    assert GPSampler({}, seed=0, trials=4, direction="maximize").values([3.0, -1e30, 2.0]) == [3.0, -7.0, 2.0]


def _loads(code: str) -> str:
    check = "\nimport sys; print(*sorted({'torch', 'ray', 'mlflow', 'optuna', 'cmaes'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_checking_a_sweep_of_a_sampler_that_learns_loads_neither_optuna_nor_torch() -> None:
    for name in LEARNERS:
        space = {"training.lr": {"low": 0.1, "high": 0.2}}
        document = sweep_document(space=space, search={"sampler": name, "trials": 20})
        code = "from workers.spec.parse import parse_sweep\nfrom workers.spec.expand import next_points\n"
        assert _loads(code + f"next_points(parse_sweep({document!r}), [])") == ""

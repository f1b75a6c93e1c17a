"""The sweeps of the study are valid, have what the study claims about them, and can be shortened."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from study.documents import PAPER, SIZES, SweepDocument, belongs, parse_all, read, shortened
from study.errors import DataUnavailable, DocumentWrong
from study.experiments import EXPERIMENTS
from study.experiments.ptb import EQUAL
from tests.study.examples import documents
from workers.spec.expand import plan_trials
from workers.spec.parameter_count import count_parameters
from workers.spec.parse import parse_sweep
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec
from workers.tasks.language import LanguageTask
from workers.tasks.mnist import Mnist

PATHS = sorted(PAPER.glob("*/*.json"))


def first(document: SweepDocument) -> TrialSpec:
    sweep = parse_sweep(document.content)
    return plan_trials(sweep)[0].require_spec()


def specs(sweep: SweepSpec) -> list[TrialSpec]:
    return [plan.require_spec() for plan in plan_trials(sweep)]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_document_is_a_valid_sweep_of_an_experiment(path: Path) -> None:
    (name,) = [name for name in EXPERIMENTS if belongs(path.stem, name)]
    (document,) = [found for found in read(path.parent, [name]) if found.stem == path.stem]
    assert document.content["name"] == path.stem
    sweep = parse_sweep(document.content)
    assert bool(sweep.resources.gpus) == (path.parent.name == "full")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_sweeps_in_every_size(name: str, size: str) -> None:
    assert documents(name, size=size)


@pytest.mark.parametrize("size", SIZES)
def test_language_models_are_compared_at_equal_numbers_of_parameters(size: str) -> None:
    totals: dict[str, list[int]] = defaultdict(list)
    for document in documents("ptb", size=size):
        spec = first(document)
        assert isinstance(spec.task, LanguageTask)
        totals[repr(spec.task)].append(count_parameters(spec.model, spec.task).total)
    assert len(totals) == 2
    for own in totals.values():
        assert max(own) / min(own) - 1 <= EQUAL


@pytest.mark.parametrize("size", SIZES)
def test_the_phase_diagram_has_its_trials_and_equal_products_at_two_lengths(size: str) -> None:
    products: dict[str, dict[int, set[float]]] = defaultdict(lambda: defaultdict(set))
    total = 0
    for document in documents("phase", size=size):
        for spec in specs(parse_sweep(document.content)):
            length = spec.task.sequence_length
            products[spec.task.name][length].add(float(f"{spec.model.band_margin * length:.3g}"))
            total += 1
    assert total >= 300
    assert set(products) == {"copy", "adding"}
    for own in products.values():
        assert len(own) == 2
        assert len({frozenset(found) for found in own.values()}) == 1


def test_the_gradients_have_a_margin_below_one_over_t_and_one_far_above() -> None:
    found = [spec for document in documents("gradients") for spec in specs(parse_sweep(document.content))]
    products = [spec.model.band_margin * spec.task.sequence_length for spec in found if spec.model.spectral]
    assert min(products) <= 1
    assert max(products) > 10
    assert any(spec.model.kind == "lstm" for spec in found)


@pytest.mark.parametrize("document", documents(*EXPERIMENTS), ids=lambda document: document.stem)
def test_a_dry_run_is_a_valid_sweep_of_few_steps_and_one_seed(document: SweepDocument) -> None:
    short = shortened(document, 12)
    found = specs(parse_sweep(short.content))
    assert {spec.training.steps for spec in found} == {12}
    assert all(spec.training.report_interval <= 12 for spec in found)
    assert len({spec.training.seed for spec in found}) == 1
    assert len(found) <= len(specs(parse_sweep(document.content)))
    assert short.digest != document.digest


def test_the_digest_is_that_of_the_content() -> None:
    one = SweepDocument("a", {"name": "x", "space": {"model.margin": [0.1]}})
    assert one.digest == SweepDocument("a", {"space": {"model.margin": [0.1]}, "name": "x"}).digest
    assert one.digest != SweepDocument("a", {"name": "x", "space": {"model.margin": [0.2]}}).digest


def test_names_that_only_begin_alike_belong_to_others() -> None:
    assert belongs("copy-500-controls", "copy-500")
    assert not belongs("copy-5000", "copy-500")


def test_a_wrong_document_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlp.json").write_text("{")
    with pytest.raises(DocumentWrong, match=r"mlp\.json"):
        read(tmp_path, ["mlp"])
    with pytest.raises(DocumentWrong, match=r"mlp-wide\.json.*model\.margin"):
        parse_all([SweepDocument("mlp-wide", {"task": {"name": "adding"}, "space": {"model.margin": [2]}})], None)


def test_missing_data_says_which_folder_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable, match=r"SPECTRAL_DATA_DIR is .*ptb\.char\."):
        parse_all([found for found in documents("ptb") if found.stem == "ptb-char"], tmp_path)


def test_the_small_mnist_net_is_as_small_as_the_published_one() -> None:
    (document,) = [found for found in documents("mnist") if found.stem == "mnist-28"]
    spec = first(document)
    assert isinstance(spec.task, Mnist)
    assert count_parameters(spec.model, spec.task).recurrent <= 13_000

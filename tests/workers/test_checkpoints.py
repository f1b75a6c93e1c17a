"""Checkpoints: incomplete, altered and foreign ones are never loaded."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import workers.checkpoints
import workers.files
from tests.workers.examples import make_trial
from workers.checkpoint_files import MANIFEST, MODEL, OPTIMIZER, Best, MetricsAtStep
from workers.checkpoints import CheckpointFolder, read
from workers.errors import CheckpointInvalid
from workers.models import initial_network, load
from workers.training.training_state import TrainingState

SPEC = make_trial()


def parameters(step: int) -> dict[str, Tensor]:
    return {"w": torch.full((2, 3), float(step)), "empty": torch.zeros(0, 3)}


def write(store: CheckpointFolder, step: int, best: Best | None = None) -> Path:
    history = [MetricsAtStep(step=step, values={"val/loss": 0.1 + 1e-17 * step})]
    return store.write(step, parameters(step), {"m": torch.ones(3, dtype=torch.float64) / 3}, history, best)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "trial", SPEC)


def steps(store: CheckpointFolder) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in store.directory.iterdir())


def test_an_empty_folder_has_no_newest_checkpoint(store: CheckpointFolder) -> None:
    assert store.newest() is None


def test_a_checkpoint_is_read_as_it_was_written_bit_for_bit(store: CheckpointFolder) -> None:
    path = write(store, 7, Best(step=7, objective=0.1))
    found = store.newest()
    assert found is not None
    assert found.path == path == store.directory / "step-000000007"
    assert found.manifest.step == 7
    assert found.manifest.spec == SPEC
    assert found.manifest.best == Best(step=7, objective=0.1)
    assert found.manifest.history[0].values["val/loss"] == 0.1 + 7e-17
    assert found.model.keys() == {"w", "empty"}
    assert torch.equal(found.model["w"], parameters(7)["w"])
    assert torch.equal(found.optimizer["m"], torch.ones(3, dtype=torch.float64) / 3)


def test_the_last_two_and_the_best_are_kept(store: CheckpointFolder) -> None:
    best = Best(step=2, objective=0.5)
    for step in range(1, 7):
        write(store, step, best if step >= 2 else None)
    assert steps(store) == [2, 5, 6]


def test_the_best_of_the_last_but_one_is_kept_beside_a_newer_best(store: CheckpointFolder) -> None:
    write(store, 1, Best(step=1, objective=0.5))
    for step in (2, 3):
        write(store, step, Best(step=1, objective=0.5))
    write(store, 4, Best(step=4, objective=0.4))
    assert steps(store) == [1, 3, 4]
    (store.path(4) / MODEL).write_bytes(b"")
    found = store.newest()
    assert found is not None
    assert found.manifest.step == 3
    assert found.manifest.best is not None
    assert store.best(found.manifest.best).manifest.step == 1


def test_checkpoints_at_multiples_of_keep_every_stay(tmp_path: Path) -> None:
    store = CheckpointFolder(tmp_path / "trial", SPEC, keep_every=3)
    for step in range(1, 10):
        write(store, step)
    assert steps(store) == [3, 6, 8, 9]


def test_a_checkpoint_of_another_trial_is_never_removed(store: CheckpointFolder) -> None:
    other = CheckpointFolder(store.directory, make_trial(lr=0.5))
    write(other, 1)
    for step in (2, 3, 4):
        write(store, step)
    assert steps(store) == [1, 3, 4]
    assert read(other.path(1)).manifest.spec == make_trial(lr=0.5)


def test_what_an_interrupted_removal_left_goes_with_the_next_write(store: CheckpointFolder) -> None:
    write(store, 1)
    store.path(1).rename(store.directory / ".removed-step-000000001")
    assert store.newest() is None
    write(store, 2)
    assert [path.name for path in store.directory.iterdir()] == ["step-000000002"]


@pytest.mark.parametrize("name", [MODEL, OPTIMIZER, MANIFEST])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "altered"])
def test_a_damaged_checkpoint_is_skipped_and_refused_by_name(store: CheckpointFolder, name: str, damage: str) -> None:
    write(store, 1)
    newest = write(store, 2)
    path = newest / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "altered":
        changed = content.replace(b'"step": 2', b'"step": "x"') if name == MANIFEST else content[:-1] + b"\x07"
        assert changed != content
        path.write_bytes(changed)
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(CheckpointInvalid, match="step-000000002"):
        read(newest)
    found = store.newest()
    assert found is not None
    assert found.manifest.step == 1


def test_a_checkpoint_of_another_format_version_is_refused(store: CheckpointFolder) -> None:
    path = write(store, 1) / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 3}))
    with pytest.raises(CheckpointInvalid, match="version 3"):
        read(path.parent)


def test_a_folder_of_another_trial_is_refused(store: CheckpointFolder) -> None:
    write(store, 1)
    with pytest.raises(CheckpointInvalid, match="another trial: training"):
        CheckpointFolder(store.directory, make_trial(lr=0.5)).newest()


def test_the_same_trial_under_another_number_resumes(store: CheckpointFolder) -> None:
    write(store, 1)
    assert CheckpointFolder(store.directory, make_trial(number=9)).newest() is not None


@pytest.mark.parametrize("cut_at", [1, 2, 3])
def test_a_write_cut_short_leaves_the_last_checkpoint_the_newest(
    store: CheckpointFolder, cut_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, 1)
    whole, done = workers.files.write_whole, 0

    def cut(path: Path, content: bytes) -> None:
        nonlocal done
        done += 1
        if done == cut_at:
            raise OSError(28, "No space left on device")
        whole(path, content)

    monkeypatch.setattr(workers.checkpoints, "write_whole", cut)
    with pytest.raises(OSError, match="No space left"):
        write(store, 2)
    monkeypatch.undo()
    found = store.newest()
    assert found is not None
    assert found.manifest.step == 1
    write(store, 2)
    found = store.newest()
    assert found is not None
    assert found.manifest.step == 2


def test_leftovers_of_a_killed_process_are_ignored(store: CheckpointFolder) -> None:
    folder = store.path(3)
    folder.mkdir(parents=True)
    (folder / f".{MODEL}.123.tmp").write_bytes(b"half")
    assert store.newest() is None
    for step in (4, 5, 6):
        write(store, step)
    assert steps(store) == [5, 6]


def test_a_lost_best_does_not_stop_a_trial(tmp_path: Path) -> None:
    store = CheckpointFolder(tmp_path, SPEC)
    state = TrainingState.start(SPEC)
    for step, best in ((4, 4), (8, 4)):
        state.step, state.best = step, Best(step=best, objective=0.5)
        state.save(store)
    (store.path(4) / MODEL).unlink()
    resumed = TrainingState.resume(store, SPEC)
    assert resumed.step == 8
    assert resumed.best is None


@pytest.mark.parametrize("kind", ["spectral_rnn", "rnn", "lstm"])
def test_load_returns_the_module_that_was_saved(kind: str, tmp_path: Path) -> None:
    own: dict[str, Any] = {} if kind == "spectral_rnn" else {"reflectors": None}
    spec = make_trial(kind=kind, seed=3, **own)
    state, other = (
        TrainingState.start(spec),
        initial_network(make_trial(**(spec.model.model_dump(exclude_unset=True)), seed=4)),
    )
    state.model = {name: p.detach().clone() for name, p in other.named_parameters()}
    path = state.save(CheckpointFolder(tmp_path, spec))
    (path / OPTIMIZER).unlink()
    model = load(path)
    assert not model.training
    inputs = torch.randn(5, 8, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(inputs), other(inputs))
    assert model(inputs).shape == (5, 1)


@pytest.mark.parametrize("kind", ["spectral_mlp", "spectral_resnet"])
def test_a_checkpoint_with_the_names_of_earlier_releases_is_resumed_and_loaded(kind: str, tmp_path: Path) -> None:
    spec = make_trial(kind=kind, layers=2)
    state, store = TrainingState.start(spec), CheckpointFolder(tmp_path, spec)
    present = dict(state.model)
    state.model = {name.replace("layers.svd.", "layers."): p for name, p in present.items()}
    state.optimizer = {
        moment: {name.replace("layers.svd.", "layers."): torch.rand_like(p) for name, p in own.items()}
        for moment, own in state.optimizer.items()
    }
    assert "layers.singular" in state.model
    state.best, state.step = Best(step=4, objective=1.0), 4
    path = state.save(store)
    resumed = TrainingState.resume(store, spec)
    assert resumed.best_model is not None
    for found in (resumed.model, resumed.best_model, dict(load(path).named_parameters())):
        assert found.keys() == present.keys()
        assert all(torch.equal(found[name], p) for name, p in present.items())
    for moment, own in state.optimizer.items():
        assert torch.equal(resumed.optimizer[moment]["layers.svd.singular"], own["layers.singular"])


def test_load_refuses_a_folder_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointInvalid, match=MANIFEST):
        load(tmp_path)


def test_a_network_with_the_vocabulary_of_the_release_before_is_loaded_and_not_trained_on(tmp_path: Path) -> None:
    """In earlier releases ``ptb_word`` trained on valid had 6,022 words, of which 230 were in no training text."""
    task = {"name": "ptb_word", "train_on": "valid", "length": 5}
    spec = make_trial(task=task, hidden_size=3, embedding_size=2)
    store, state = CheckpointFolder(tmp_path, spec), TrainingState.start(spec)
    for name in ("embedding.weight", "head.weight", "head.bias"):
        tensor = state.model[name]
        state.model[name] = torch.cat([tensor, tensor.new_ones(6_022 - len(tensor), *tensor.shape[1:])])
    ids = torch.tensor([[0, 5_791, 6_021]])
    model = load(state.save(store))
    assert model(ids).shape == (1, 3, 6_022)
    torch.testing.assert_close(model(ids[:, :2])[..., :5_792], initial_network(spec)(ids[:, :2]))
    with pytest.raises(CheckpointInvalid, match=r"ptb_word had 6,022 tokens; it has 5,792 now"):
        TrainingState.resume(store, spec)


def test_every_checkpoint_that_release_0_1_0_left_is_resumed_and_loaded(tmp_path: Path) -> None:
    with tarfile.open(Path(__file__).parents[1] / "data" / "home_0_1_0.tar.gz") as archive:
        wanted = [member for member in archive if "/step-" in member.name]
        archive.extractall(tmp_path, wanted, filter="data")
    trials = {path.parent.parent for path in tmp_path.rglob(MANIFEST)}
    assert len(trials) > 2
    for trial in trials:
        folders = sorted(trial.iterdir())
        spec = read(folders[-1]).manifest.spec
        state = TrainingState.resume(CheckpointFolder(trial, spec), spec)
        assert folders[-1].name == f"step-{state.step:09d}"
        assert 0 < state.history[-1].step <= state.step
        for folder in folders:
            assert read(folder).manifest.version == 1
            load(folder)

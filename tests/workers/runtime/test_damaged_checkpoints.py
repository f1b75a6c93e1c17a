"""A trial whose checkpoints are damaged goes on from the newest whole one, and ends with the same values."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from tests.workers.examples import make_assignment, make_trial
from workers.checkpoint_files import MANIFEST, MODEL, OPTIMIZER, FileRecord, encoded, read_manifest, remove, step_of
from workers.checkpoints import CheckpointFolder
from workers.protocol import Checkpointed, Ended, Measured, Report
from workers.training.pack_run import PackRun
from workers.training.training_state import TrainingState

SPEC = make_trial(steps=100, report_every=20)
NEIGHBOUR = make_trial(steps=100, report_every=20, seed=1)
Damage = Callable[[Path], object]
"""What is done to the folder of a trial, whose newest checkpoints are those of steps 40 and 60."""


def run(folder: Path, until: int = 100) -> list[Report]:
    """Train a trial and its neighbour from their checkpoints up to a step, and return what is reported."""
    reports: list[Report] = []
    pack = PackRun(make_assignment(folder, [SPEC, NEIGHBOUR]).trials, reports.append)
    pack.start()
    while not pack.ended and min(pack.progress()[trial] for trial in pack.live) < until:
        pack.advance()
    return reports


def values(reports: list[Report]) -> dict[str, dict[int, dict[str, float]]]:
    """Return the metrics by trial and step, without times."""
    found: dict[str, dict[int, dict[str, float]]] = {"t0": {}, "t1": {}}
    for report in reports:
        if isinstance(report, Measured):
            kept = {k: v for k, v in report.values.items() if not k.startswith(("time/", "throughput/"))}
            found[report.trial_id][report.step] = kept
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, dict[str, float]]]:
    return values(run(tmp_path_factory.mktemp("undisturbed")))


@pytest.fixture(scope="module")
def at_60(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which both trials were trained to step 60."""
    folder = tmp_path_factory.mktemp("at_60")
    run(folder, until=60)
    assert CheckpointFolder(folder / "t0", SPEC).steps()[-2:] == [40, 60]
    return folder


@pytest.fixture
def folder(at_60: Path, tmp_path: Path) -> Path:
    return shutil.copytree(at_60, tmp_path / "copy")


def flip(name: str) -> Damage:
    """Change one bit in the middle of a file."""

    def damage(trial: Path) -> None:
        path = trial / "step-000000060" / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))

    return damage


def put(name: str, content: Callable[[bytes], bytes]) -> Damage:
    """Replace a file's content by a function of it."""

    def damage(trial: Path) -> None:
        path = trial / "step-000000060" / name
        path.write_bytes(content(path.read_bytes()))

    return damage


def dangling(name: str) -> Damage:
    def damage(trial: Path) -> None:
        path = trial / "step-000000060" / name
        path.unlink()
        path.symlink_to(trial / "nowhere")

    return damage


def pipe(name: str) -> Damage:
    def damage(trial: Path) -> None:
        path = trial / "step-000000060" / name
        path.unlink()
        os.mkfifo(path)

    return damage


def gone(name: str = "") -> Damage:
    def damage(trial: Path) -> None:
        path = trial / "step-000000060" / name
        path.unlink() if name else shutil.rmtree(path)

    return damage


def sparse(name: str) -> Damage:
    """Make a file terabytes long, of which nothing is on the disk."""

    def damage(trial: Path) -> None:
        with (trial / "step-000000060" / name).open("r+b") as file:
            file.truncate(2**40)

    return damage


def tensors(name: str, change: Callable[[dict[str, torch.Tensor]], bytes]) -> Damage:
    """Replace the tensors of a file, with a manifest that has the right digests."""

    def damage(trial: Path) -> None:
        checkpoint = trial / "step-000000060"
        found = read_manifest(checkpoint)
        content = change(load((checkpoint / name).read_bytes()))
        (checkpoint / name).write_bytes(content)
        record = FileRecord(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
        vouching = found.model_copy(update={"files": found.files | {name: record}})
        (checkpoint / MANIFEST).write_bytes(encoded(vouching))

    return damage


def without_one(found: dict[str, torch.Tensor]) -> bytes:
    return save({name: tensor for name, tensor in found.items() if name != min(found)})


def with_one_more(found: dict[str, torch.Tensor]) -> bytes:
    return save(found | {"another": torch.zeros(2)})


def longer(found: dict[str, torch.Tensor]) -> bytes:
    return save({name: torch.cat([t.reshape(-1), t.reshape(-1)]) for name, t in found.items()})


def as_float64(found: dict[str, torch.Tensor]) -> bytes:
    other = {torch.float32: torch.float64, torch.float64: torch.float32}
    return save({name: tensor.to(other[tensor.dtype]) for name, tensor in found.items()})


def version_1(change: Callable[[dict[str, object]], object] = lambda _: None) -> Damage:
    """Write the manifest as releases up to 0.2 did, without a digest over it, and change it."""

    def damage(trial: Path) -> None:
        path = trial / "step-000000060" / MANIFEST
        content = json.loads(path.read_bytes())
        del content["digest"]
        content["version"] = 1
        change(content)
        path.write_text(json.dumps(content))

    return damage


def both(damage: Damage) -> Damage:
    def twice(trial: Path) -> None:
        damage(trial)
        shutil.rmtree(trial / "step-000000040")
        (trial / "step-000000060").rename(trial / "step-000000040")

    return twice


def beside(trial: Path) -> None:
    """Put files and folders with strange names beside the checkpoints."""
    for name in ("step-x", "step-60", "step-0000000099", ".removed-step-000000020", "notes", "step-000000080.tmp"):
        (trial / name).mkdir()
    (trial / "step-000000095").write_text("a file")


def foreign(trial: Path) -> None:
    """Put the neighbour's newest checkpoint into the place of the trial's own."""
    shutil.rmtree(trial / "step-000000060")
    shutil.copytree(trial.parent / "t1" / "step-000000060", trial / "step-000000060")


def state_of(trial: Path) -> dict[Path, bytes | int]:
    """Return the content of every file, or the size of a large one, by its path."""
    files = [path for path in trial.rglob("*") if path.is_file()]
    return {path: path.stat().st_size if path.stat().st_size > 2**20 else path.read_bytes() for path in files}


DAMAGES: dict[str, tuple[Damage, int]] = {
    "nothing": (lambda _: None, 60),
    **{f"a bit of {name} flipped": (flip(name), 40) for name in (MODEL, OPTIMIZER, MANIFEST)},
    **{f"{name} cut": (put(name, lambda c: c[: len(c) // 2]), 40) for name in (MODEL, OPTIMIZER, MANIFEST)},
    **{f"{name} empty": (put(name, lambda _: b""), 40) for name in (MODEL, OPTIMIZER, MANIFEST)},
    **{f"{name} removed": (gone(name), 40) for name in (MODEL, OPTIMIZER, MANIFEST)},
    **{f"{name} a dangling link": (dangling(name), 40) for name in (MODEL, OPTIMIZER, MANIFEST)},
    **{f"{name} a pipe": (pipe(name), 40) for name in (MODEL, OPTIMIZER, MANIFEST)},
    **{f"{name} of a terabyte": (sparse(name), 40) for name in (MODEL, OPTIMIZER, MANIFEST)},
    "the folder removed": (gone(), 40),
    "the removal interrupted": (lambda trial: remove(trial / "step-000000060"), 40),
    "the manifest binary": (put(MANIFEST, lambda _: bytes(range(256))), 40),
    "the manifest a list": (put(MANIFEST, lambda _: b"[]"), 40),
    "the manifest 100,000 deep": (put(MANIFEST, lambda _: b"[" * 100_000), 40),
    "the manifest a number of 10,000 digits": (put(MANIFEST, lambda _: b"1" * 10_000), 40),
    "the manifest of another version": (put(MANIFEST, lambda c: c.replace(b'"version": 2', b'"version": 3')), 40),
    "a blank of the manifest changed": (put(MANIFEST, lambda c: c.replace(b'\n "step"', b'\n  "step"')), 40),
    "a digit of a metric changed": (
        put(MANIFEST, lambda c: c.replace(b'"train/loss": 0.', b'"train/loss": 1.', 1)),
        40,
    ),
    "the step changed": (put(MANIFEST, lambda c: c.replace(b'"step": 60,\n "spec"', b'"step": 95,\n "spec"')), 40),
    "the digest taken out": (put(MANIFEST, lambda c: b"{" + c.partition(b"\n")[2]), 40),
    "the manifest of step 40": (
        lambda trial: shutil.copy(trial / "step-000000040" / MANIFEST, trial / "step-000000060" / MANIFEST),
        40,
    ),
    "the folder of step 40 under its name": (
        lambda trial: (
            shutil.rmtree(trial / "step-000000060"),
            shutil.copytree(trial / "step-000000040", trial / "step-000000060"),
        ),
        40,
    ),
    "of another trial": (foreign, 40),
    **{f"a tensor of {name} missing": (tensors(name, without_one), 40) for name in (MODEL, OPTIMIZER)},
    **{f"a tensor too many in {name}": (tensors(name, with_one_more), 40) for name in (MODEL, OPTIMIZER)},
    **{f"wrong shapes in {name}": (tensors(name, longer), 40) for name in (MODEL, OPTIMIZER)},
    **{f"wrong dtypes in {name}": (tensors(name, as_float64), 40) for name in (MODEL, OPTIMIZER)},
    **{f"no safetensors in {name}": (tensors(name, lambda _: b"not one of these"), 40) for name in (MODEL, OPTIMIZER)},
    **{
        f"a header of 2^60 bytes in {name}": (tensors(name, lambda c: (2**60).to_bytes(8, "little") + save(c)), 40)
        for name in (MODEL, OPTIMIZER)
    },
    "a manifest of an earlier release": (version_1(), 60),
    "one of an earlier release, of another step": (version_1(lambda c: c.update(step=95)), 40),
    "one of an earlier release, without its digests": (version_1(lambda c: c.update(files={})), 40),
    "both": (both(flip(MODEL)), 0),
    "all removed": (lambda trial: shutil.rmtree(trial), 0),
    "strange names beside it": (beside, 60),
}


@pytest.mark.parametrize("name", list(DAMAGES))
def test_a_trial_goes_on_from_the_newest_whole_checkpoint_with_the_same_values(
    name: str, folder: Path, undisturbed: dict[str, dict[int, dict[str, float]]]
) -> None:
    damage, goes_on = DAMAGES[name]
    before = state_of(folder / "t0")
    damage(folder / "t0")
    assert (state_of(folder / "t0") == before) == (name == "nothing")
    assert TrainingState.resume(CheckpointFolder(folder / "t0", SPEC), SPEC).step == goes_on
    reports = run(folder)
    assert values(reports) == undisturbed
    assert {r.trial_id: r.outcome for r in reports if isinstance(r, Ended)} == {"t0": "succeeded", "t1": "succeeded"}


def test_a_trial_with_checkpoints_of_another_alone_fails_and_leaves_them(
    folder: Path, undisturbed: dict[str, dict[int, dict[str, float]]]
) -> None:
    shutil.rmtree(folder / "t0")
    shutil.copytree(folder / "t1", folder / "t0")
    before = CheckpointFolder(folder / "t0", SPEC).steps()
    reports = run(folder)
    (end,) = [report for report in reports if isinstance(report, Ended) and report.trial_id == "t0"]
    assert (end.outcome, end.cause) == ("failed", "user")
    assert "belongs to another trial: training" in str(end.reason)
    assert CheckpointFolder(folder / "t0", SPEC).steps() == before
    assert values(reports)["t1"] == undisturbed["t1"]


def test_every_byte_of_a_manifest_counts(folder: Path) -> None:
    store = CheckpointFolder(folder / "t0", SPEC)
    path = store.path(60) / MANIFEST
    content = path.read_bytes()
    for place in range(0, len(content), 41):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        found = store.newest()
        assert found is not None
        assert found.manifest.step == 40, content[place - 20 : place + 20]


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
def test_a_store_that_gives_no_checkpoint_is_waited_for_and_nothing_is_trained_again(
    at_60: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    folder = tmp_path / "trials"
    shutil.copytree(at_60, folder)
    opening, failing = Path.open, {40, 60}

    def failing_open(path: Path, *args: Any, **options: Any) -> Any:
        if path.name == MANIFEST and path.parent.parent.name == "t0" and step_of(path.parent) in failing:
            raise OSError(code, os.strerror(code))
        return opening(path, *args, **options)

    with monkeypatch.context() as store:
        store.setattr(Path, "open", failing_open)
        (end,) = [r for r in run(folder) if isinstance(r, Ended) and r.trial_id == "t0"]
    assert (end.outcome, end.cause) == ("failed", "storage")
    assert CheckpointFolder(folder / "t0", SPEC).steps()[-2:] == [40, 60]
    failing.remove(40)
    monkeypatch.setattr(Path, "open", failing_open)
    first = next(r for r in run(folder, until=60) if isinstance(r, Checkpointed) and r.trial_id == "t0" and r.step > 20)
    assert first.step == 40, "of a single bad checkpoint the one before takes the place"

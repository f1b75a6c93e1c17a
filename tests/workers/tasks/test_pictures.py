"""Pictures show the sample they are of, and the command that draws them says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.workers.training.test_metrics import Drawn, DrawnValues
from workers.tasks import MASKED
from workers.tasks.adding import Adding
from workers.tasks.copy_memory import Copy
from workers.tasks.digits import Digits
from workers.tasks.mnist import Mnist, _images
from workers.tasks.own_data import OwnData
from workers.tasks.pictures.__main__ import main
from workers.tasks.pictures.sample_plots import picture
from workers.tasks.text import Text
from workers.tasks.ucr import Ucr


def shades(figure: Figure, panel: int) -> np.ndarray:
    return np.asarray(figure.axes[panel].images[0].get_array())


def test_copy_is_shown_by_symbol_over_time() -> None:
    task = Copy(length=5)
    found = task.held_out("validation", None)
    figure = picture(task, index=3)
    assert np.array_equal(shades(figure, 0), found.inputs[3].T)
    assert np.array_equal(shades(figure, 1).argmax(0), found.targets[3])
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()][-2:] == ["blank", "delimiter"]
    assert figure.axes[0].get_title(loc="left") == "copy (length 5)"


def test_adding_shows_values_markers_and_the_sum() -> None:
    task = Adding(length=8)
    found = task.held_out("test", None)
    figure = picture(task, split="test", index=2)
    value, marker = figure.axes
    assert np.allclose(value.lines[0].get_ydata(), found.inputs[2, :, 0])
    assert (marker.lines[0].get_xdata() == np.flatnonzero(found.inputs[2, :, 1]) + 1).all()
    assert value.get_title(loc="right") == f"target: {found.targets[2, 0]:.3f}"


def test_images_stand_beside_their_pixels() -> None:
    figure = picture(Digits(), index=1)
    found = Digits().held_out("validation", None)
    assert np.array_equal(shades(figure, 1).ravel(), figure.axes[0].lines[0].get_ydata())
    assert figure.axes[0].get_title(loc="right") == f"target: class {found.targets[1]}"


def test_a_permuted_image_is_put_together_again(data_dir: Path) -> None:
    images, _ = _images("t10k", data_dir)
    for task in (Mnist(order="permuted", steps=112), Mnist(steps=28)):
        figure = picture(task, data_dir, split="test", index=4)
        assert np.array_equal(shades(figure, 1), images[4] / np.float32(255))


@pytest.mark.parametrize(
    ("labels", "shown"), [(("down", "up"), {"down", "up"}), (("-1", "1"), {"class -1", "class 1"})]
)
def test_classes_of_files_are_shown_by_name(labels: tuple[str, str], shown: set[str], tmp_path: Path) -> None:
    rows = [f"{labels[s % 2]}\t{s / 2}\t{s + 1.5}\t{s - 1.5}" for s in range(12)]
    for part in ("TRAIN", "TEST"):
        (tmp_path / "ucr").mkdir(exist_ok=True)
        (tmp_path / "ucr" / f"Mine_{part}.tsv").write_text("\n".join(rows))
    (tmp_path / "mine.csv").write_text("\n".join(["target,t0,t1,t2", *(row.replace("\t", ",") for row in rows)]))
    for task in (Ucr(dataset="Mine"), OwnData(file="mine.csv")):
        count = len(task.held_out("validation", tmp_path))
        titles = {picture(task, tmp_path, index=i).axes[0].get_title(loc="right") for i in range(count)}
        assert titles == {f"target: {label}" for label in shown}


def test_a_series_cut_into_steps_is_shown_whole(tmp_path: Path) -> None:
    values = np.arange(12 * 9).reshape(12, 9)
    (tmp_path / "ucr").mkdir()
    for part in ("TRAIN", "TEST"):
        rows = ["\t".join(map(str, (s % 2, *values[s]))) for s in range(12)]
        (tmp_path / "ucr" / f"Mine_{part}.tsv").write_text("\n".join(rows))
    (axes,) = picture(Ucr(dataset="Mine", width=3), tmp_path, split="test", index=5).axes
    assert np.array_equal(axes.lines[0].get_ydata(), values[5])
    assert axes.get_xlabel() == "value, 3 to a step"


@pytest.mark.parametrize("task", [Drawn(every=True, unequal=True), DrawnValues(every=True, unequal=True)], ids=repr)
def test_only_steps_and_targets_that_count_are_shown(task: Drawn) -> None:
    found = task.drawn(150)
    assert found.lengths is not None
    index = int(np.flatnonzero(found.lengths == 3)[0])
    figure = picture(task, index=index)
    assert len(figure.axes[0].lines[0].get_ydata()) == 3  # type: ignore[arg-type]
    target = found.targets[index, :3]
    if task.loss == "cross_entropy":
        shown = shades(figure, 2)
        assert np.array_equal(shown.sum(0), target != MASKED)
        assert np.array_equal(shown.argmax(0)[target != MASKED], target[target != MASKED])
    else:
        drawn = np.stack([line.get_ydata() for line in figure.axes[2].lines], 1)
        np.testing.assert_array_equal(drawn, target)


@pytest.mark.parametrize("level", ["char", "word"])
def test_text_stands_over_the_tokens_that_follow(level: Literal["char", "word"], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("one_two_three\n" * 40 if level == "char" else "one two three\n" * 40)
    task = Text(file="mine.txt", level=level)
    streams = task.streams(tmp_path)
    words = [streams.vocabulary.symbols[i].replace("<eos>", "↵").replace("\n", "↵") for i in streams.validation]
    written = [text.get_text() for text in picture(task, tmp_path).axes[0].texts]
    row = task.held_out("validation", tmp_path).inputs.shape[1]
    assert any(text.split() == words[:row] for text in written)
    assert any(text.split() == words[1 : row + 1] for text in written)


def test_the_command_writes_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "copy.png"
    assert main(['{"name": "copy", "length": 3}', "--out", str(out), "--sample", "1", "--split", "test"]) == 0
    assert out.read_bytes()[:4] == b"\x89PNG"
    assert capsys.readouterr().out.strip() == str(out)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nothing"], "'nothing' is not a known task; choose one of adding, copy"),
        (['{"name": "copy", "length": 0}'], "task.length: is less than 1; allowed: at least 1"),
        (["copy", "--sample", "500"], "sample 500 is not in the validation set: choose one of 0 to 499"),
        (['{"name": "text", "file": "a.txt"}'], "SPECTRAL_DATA_DIR"),
        (["{"], "the task is neither a name nor JSON"),
        (["[1]"], "the task is JSON, but not an object"),
        (["{}"], "the task has no name; choose one of adding, copy"),
        (['{"name": "copy", "size": 1}'], "task.size: is not a known field; allowed: one of name, length"),
        (
            ["ucr"],
            """task ucr needs dataset; give the task with its fields: '{"name": "ucr", "dataset": "GunPoint"}'""",
        ),
        (["text"], "task text needs file; give"),
    ],
)
def test_the_command_says_what_is_wrong(
    arguments: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", str(tmp_path / "x.png"), "--data-dir", str(tmp_path)]) == 1
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("out", "data_dir", "problem"),
    [
        ("missing/x.png", ".", "missing for the picture does not exist"),
        ("x.bmp", ".", "does not end in .png, .svg or .pdf"),
        ("x", ".", "does not end in .png, .svg or .pdf"),
        ("x.png", "absent", "absent does not exist"),
    ],
)
def test_places_that_cannot_be_used_are_refused_before_any_data_is_read(
    out: str, data_dir: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mnist", "--out", str(tmp_path / out), "--data-dir", str(tmp_path / data_dir)]) == 1
    assert problem in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

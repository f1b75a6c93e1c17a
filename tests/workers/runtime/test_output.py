"""What a runner prints is captured line by line, bounded, and kept until a poll has acknowledged it."""

from __future__ import annotations

import io
import itertools
import logging
import math
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import until
from tests.workers.examples import make_assignment, make_trial
from tests.workers.runtime.test_train_pack import PATIENCE, Watched, ends, poll
from workers.output_bounds import LINE_CHARACTERS, middle, size_of
from workers.protocol import OutputLine
from workers.runtime.output_capture import OutputCapture, plain
from workers.runtime.unread_lines import MOST_CHARACTERS, PrintedLine, UnreadLines
from workers.training.pack_run import PackRun

Streams = tuple[io.StringIO, io.StringIO]


@contextmanager
def streams() -> Iterator[Streams]:
    """Streams in the place of this process's own."""
    found = io.StringIO(), io.StringIO()
    with redirect_stdout(found[0]), redirect_stderr(found[1]):
        yield found


def told(lines: list[PrintedLine]) -> list[tuple[str, str | None, str]]:
    return [(line.stream, line.level, line.text) for line in lines]


def test_everything_that_python_prints_is_a_line_and_goes_where_it_went_before() -> None:
    lines: list[PrintedLine] = []
    before = logging.getLogger().level, warnings.showwarning
    with streams() as own:
        with OutputCapture(lines.append):
            print("one\ntwo", end="")
            print("!", file=sys.stderr)
            print(" and a half")
            logging.getLogger("workers.x").info("a step", extra={"trial_id": "t1"})
            logging.getLogger("other").debug("a detail")
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.warn_explicit("odd", UserWarning, "/home/ada/lib.py", 7)
            try:
                raise ArithmeticError("no number")
            except ArithmeticError:
                logging.getLogger("other").exception("it broke")
            sys.stdout.writelines(["no end"])
        assert (sys.stdout, sys.stderr) == own
        print("not any more")
    found = told(lines)
    assert found[:5] == [
        ("stdout", None, "one"),
        ("stderr", None, "!"),
        ("stdout", None, "two and a half"),
        ("log", "INFO", "a step"),
        ("warning", "WARNING", "/home/ada/lib.py:7: UserWarning: odd"),
    ]
    assert found[5] == ("log", "ERROR", "other: it broke")
    assert found[-2:] == [("log", "ERROR", "ArithmeticError: no number"), ("stdout", None, "no end")]
    assert [line.trial_id for line in lines if line.trial_id] == ["t1"]
    out, err = (stream.getvalue() for stream in own)
    assert out == "one\ntwo and a half\na step\nno endnot any more\n"
    for words in ("!\n", "lib.py:7: UserWarning: odd\n", "other: it broke\n", "ArithmeticError"):
        assert err.count(words) == (2 if words == "ArithmeticError" else 1)
    assert (logging.getLogger().level, warnings.showwarning) == before


def test_a_bar_of_progress_is_one_line_and_colours_are_none() -> None:
    lines: list[PrintedLine] = []
    with streams(), OutputCapture(lines.append):
        for share in range(100):
            print(f"\r{share} %", end="")
        print("\r\n\x1b[31mred\x1b[0m\tand\x00 \x9bplain \udcff")
    assert [line.text for line in lines] == ["99 %", "red\tand plain ?"]
    assert plain("\x1b]0;title\x07text\x1b") == "text"


def test_threads_do_not_mix_their_lines() -> None:
    lines: list[PrintedLine] = []
    with streams(), OutputCapture(lines.append):
        print("main", end="")
        other = threading.Thread(target=print, args=("other",))
        other.start()
        other.join(PATIENCE)
        print(" line")
    assert [line.text for line in lines] == ["other", "main line"]


def test_a_line_without_an_end_is_cut() -> None:
    kept = UnreadLines()
    with streams(), OutputCapture(kept.add):
        print("x" * 10 * LINE_CHARACTERS, end="")
    kept.number(itertools.count(1).__next__)
    (line,) = kept.to_send()
    assert line.text == "x" * LINE_CHARACTERS + f" ... ({9 * LINE_CHARACTERS} more characters)"


def test_the_first_and_the_last_lines_are_kept_with_a_note_between() -> None:
    kept, numbers = UnreadLines(), itertools.count(1)
    for i in range(50_000):
        kept.add(PrintedLine(0.0, "stdout", f"line {i}"))
        if i == 10_000:
            kept.number(numbers.__next__)
    kept.number(numbers.__next__)
    sent = kept.to_send()
    assert sum(size_of(line.text) for line in sent) <= MOST_CHARACTERS
    assert (sent[0].text, sent[-1].text) == ("line 0", "line 49999")
    (note,) = [line for line in sent if line.stream == "note"]
    assert note.left_out + len(sent) - 1 == 50_000
    assert note.text == f"... {note.left_out} lines are left out here ..."
    place = sent.index(note)
    assert sent[place - 1].text == f"line {place - 1}"
    assert sent[place + 1].text == f"line {place + note.left_out}"
    assert [line.seq for line in sent] == sorted({line.seq for line in sent})
    assert sent[-1].seq < 10_000, "what is left out takes no numbers"


@pytest.mark.parametrize("stored", [True, False])
def test_no_line_is_counted_as_left_out_that_was_sent_and_stored(stored: bool) -> None:
    kept, numbers, printed = UnreadLines(), itertools.count(1), 0
    told: dict[int, OutputLine] = {}
    for _ in range(5):
        for _ in range(3_000):
            kept.add(PrintedLine(0.0, "stdout", f"line {printed}"))
            printed += 1
        kept.acknowledge(max(told, default=0))
        kept.number(numbers.__next__)
        told |= {line.seq: line for line in kept.to_send() if stored}
    told |= {line.seq: line for line in kept.to_send() if line.seq > max(told, default=0)}
    assert sum(line.left_out or 1 for line in told.values()) == printed
    texts = [line.text for _, line in sorted(told.items()) if not line.left_out]
    assert texts == sorted(set(texts), key=lambda text: int(text[5:]))


def test_a_level_of_another_package_is_cut() -> None:
    kept = UnreadLines()
    kept.add(PrintedLine(0.0, "log", "hello", level="A_LEVEL_WITH_A_VERY_LONG_NAME"))
    kept.number(itertools.count(1).__next__)
    assert [line.level for line in kept.to_send()] == ["A_LEVEL_WITH_A_VERY_"]


def test_what_is_left_out_is_one_note_also_in_the_first_part() -> None:
    lines = [(10, 0), (10, 0), (10, 7), (10, 0), (10, 0), (10, 0)]
    assert middle(lines, 35, 20) == slice(2, 4)
    assert middle(lines, 25, 10) == slice(2, 5)
    assert middle(lines, 0, 100) == slice(0, 0)


def test_lines_stay_until_they_are_acknowledged_and_name_no_folders() -> None:
    kept, numbers = UnreadLines(), itertools.count(1)
    for text in ("read /home/ada/data/x.csv", "from sqlite://ada:secret@db/x", "three"):
        kept.add(PrintedLine(0.0, "stdout", text))
    assert kept.to_send() == [], "a line is sent with its number"
    kept.number(numbers.__next__)
    assert [line.text for line in kept.to_send()] == ["read .../x.csv", "from sqlite://db/x", "three"]
    kept.add(PrintedLine(0.0, "stdout", "four"))
    kept.acknowledge(2)
    assert [line.text for line in kept.to_send()] == ["three"]
    kept.number(numbers.__next__)
    kept.acknowledge(3)
    assert [line.text for line in kept.to_send()] == ["four"]
    kept.acknowledge(4)
    assert not kept


class Heard(Watched):
    """A runner that keeps what this process prints, as the actor does."""

    def capture(self) -> AbstractContextManager[object]:
        return OutputCapture(self.keep_line)


@pytest.fixture
def noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training that prints after each of its advances, and of which the trial t1 begins with a NaN."""

    def resume(self: Any, trial_id: str) -> Any:
        state = begin(self, trial_id)
        if trial_id == "t1":
            state.model["head.bias"] += math.nan
        return state

    def advance(self: Any, *given: Any) -> None:
        original(self, *given)
        print("advanced to", max(self.progress().values(), default="the end"))

    original, begin = PackRun.advance, PackRun._resume
    monkeypatch.setattr(PackRun, "advance", advance)
    monkeypatch.setattr(PackRun, "_resume", resume)


@pytest.mark.usefixtures("noisy")
def test_lines_and_reports_are_acknowledged_together_and_lost_replies_lose_nothing(tmp_path: Path) -> None:
    runner = Heard(make_assignment(tmp_path, [make_trial(seed=0), make_trial(seed=1)]).model_dump())
    until(lambda: poll(runner, 0).state == "ended")
    whole = poll(runner, 0)
    numbers = sorted(told.seq for told in (*whole.reports, *whole.lines))
    assert numbers == list(range(1, len(numbers) + 1))
    by_text = {line.text: line for line in whole.lines}
    end = ends(whole.reports)
    failed = next(line for line in whole.lines if line.trial_id == "t1" and line.level == "WARNING")
    assert end["t1"].reason is not None
    assert failed.text == f"trial t1: failed at step {end['t1'].step}: {end['t1'].reason}"
    # each line stands where it was printed among the reports
    assert by_text["trial t0: begins at step 0"].seq == min(line.seq for line in whole.lines if line.trial_id == "t0")
    assert failed.seq < end["t1"].seq
    assert by_text["trial t0: succeeded at step 12"].seq < end["t0"].seq < by_text["advanced to the end"].seq
    assert any(line.text.startswith("checkpoints written; trials: 1, at step 4, in ") for line in whole.lines)

    half = numbers[len(numbers) // 2]
    rest = poll(runner, half)
    assert rest.lines == [line for line in whole.lines if line.seq > half] == poll(runner, half).lines
    last = max(told.seq for told in end.values())
    assert [line.text for line in poll(runner, last).lines][-1] == "advanced to the end"
    assert not runner.join(1.5), "the last line is not acknowledged"
    assert poll(runner, numbers[-1]).lines == []
    assert runner.join(PATIENCE)


def test_what_ends_the_training_is_in_the_output_and_in_the_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def advance(self: Any, *given: Any) -> None:
        raise KeyError("no such layer")

    monkeypatch.setattr(PackRun, "advance", advance)
    runner = Heard(make_assignment(tmp_path, [make_trial()]).model_dump())
    until(lambda: poll(runner, 0).state == "ended")
    found = poll(runner, 0)
    texts = [line.text for line in found.lines if line.level == "ERROR"]
    assert texts[0] == "the training of pack pack was ended by an exception"
    assert texts[-1] == "KeyError: 'no such layer'"
    log = ends(found.reports)["t0"].log
    assert log is not None
    assert set(log.splitlines()) <= set(texts)
    runner.poll(max(told.seq for told in (*found.reports, *found.lines)), 1)


def test_a_runner_beside_others_in_a_process_keeps_nothing_of_what_that_prints(tmp_path: Path) -> None:
    runner = Watched(make_assignment(tmp_path, [make_trial()]).model_dump())
    until(lambda: poll(runner, 0).state == "ended")
    assert poll(runner, 0).lines == []
    runner.poll(10**6, 1)

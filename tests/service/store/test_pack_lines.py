"""What the runners of packs print, by trial: which lines are whose, in which order, and how many are kept."""

from __future__ import annotations

from typing import Any

import pytest

from service.store import attempts, pack_lines, packs, trials
from service.store.database import Database
from service.store.pack_lines import LinePlace
from service.store.tables import Sweep, Trial
from workers.output_bounds import OVERHEAD
from workers.protocol import OutputLine

BACKENDS = ["sqlite", "postgresql"]


def line(seq: int, text: str, trial_id: str | None = None) -> OutputLine:
    return OutputLine(seq=seq, at=float(seq), stream="stdout", text=text, trial_id=trial_id)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_trial_has_the_lines_of_its_packs_while_it_was_there(
    backend: str, database: Database, running: tuple[Sweep, list[Trial]]
) -> None:
    _, (one, two, *_) = running
    with database.write() as session:
        first = packs.plan(session, [trials.get(session, one.id)], 1.0, 0.0, term=1)
        pack_lines.add(session, first.id, [line(1, "alone"), line(3, "of one", one.id)])
        first.last_seq = 3
        packs.give(session, first, [trials.get(session, two.id)])
        pack_lines.add(session, first.id, [line(4, "both"), line(5, "of two", two.id), line(7, "after the end of one")])
        attempts.open_of_pack(session, first.id)[one.id].line_to = 6
        second = packs.plan(session, [trials.get(session, one.id)], 1.0, 0.0, term=1)
        pack_lines.add(session, second.id, [line(1, "again")])
    with database.read() as session:
        found = pack_lines.of_trial(session, one.id)
        assert [row.text for _, row in found] == ["alone", "of one", "both", "again"]
        assert [place for place, _ in found] == [(1, 1), (1, 3), (1, 4), (2, 1)]
        assert [row.text for _, row in pack_lines.of_trial(session, two.id)] == [
            "both", "of two", "after the end of one",
        ]  # fmt: skip
        page = pack_lines.of_trial(session, one.id, LinePlace(1, 1), limit=2)
        assert [row.text for _, row in page] == ["of one", "both"]
        assert [row.text for _, row in pack_lines.of_trial(session, one.id, page[-1][0])] == ["again"]
        assert pack_lines.of_trial(session, one.id, LinePlace(2, 1)) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_of_a_long_output_the_first_and_the_last_part_are_kept(
    backend: str, database: Database, running: tuple[Sweep, list[Trial]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_lines, "MOST_CHARACTERS", 10 * (OVERHEAD + 9))
    _, (one, *_) = running
    with database.write() as session:
        pack = packs.plan(session, [trials.get(session, one.id)], 1.0, 0.0, term=1).id
    told: list[Any] = []
    for begin in (1, 9, 20, 21):
        new = [line(seq, f"line {seq:4}") for seq in range(begin, {1: 9, 9: 20, 20: 21, 21: 40}[begin])]
        with database.write() as session:
            pack_lines.add(session, pack, new)
        with database.read() as session:
            told.append([row.text for _, row in pack_lines.of_trial(session, one.id)])
    assert told[0] == [f"line {seq:4}" for seq in range(1, 9)]
    for last, texts in zip((19, 20, 39), told[1:], strict=True):
        first, end = [f"line {seq:4}" for seq in range(1, 6)], [f"line {seq:4}" for seq in range(last - 4, last + 1)]
        assert texts == [*first, f"... {last - 10} lines are left out here ...", *end]

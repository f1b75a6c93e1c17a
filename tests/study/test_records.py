"""Records come back as they were kept; only the same document, run to its end, counts as done."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.documents import SweepDocument
from study.errors import RecordWrong
from study.records import Record, Records
from tests.study.examples import documents, record

(DOCUMENT,) = [document for document in documents("gradients") if document.stem == "gradients"]


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path)


def with_first_trial(found: Record, **changes: object) -> Record:
    trial = found.trials[0].model_copy(update=changes)
    return found.model_copy(update={"trials": [trial, *found.trials[1:]]})


def test_a_record_comes_back_as_it_was(records: Records) -> None:
    kept = record(DOCUMENT)
    records.save(kept)
    assert records.load("gradients") == kept
    assert records.all() == {"gradients": kept}
    assert records.has(DOCUMENT)


def test_another_document_of_the_same_name_is_not_done(records: Records) -> None:
    records.save(record(DOCUMENT))
    changed = SweepDocument("gradients", DOCUMENT.content | {"retries": {"user": 1}})
    assert not records.has(changed)
    assert records.key(changed) != records.key(DOCUMENT)


def test_a_diverged_trial_is_a_result_and_a_lost_one_is_none(records: Records) -> None:
    kept = record(DOCUMENT)
    records.save(with_first_trial(kept, state="failed", cause="user"))
    assert records.has(DOCUMENT)
    records.save(with_first_trial(kept, state="failed", cause="infrastructure"))
    assert not records.has(DOCUMENT)
    records.save(with_first_trial(kept, state="cancelled"))
    assert not records.has(DOCUMENT)


def test_again_forgets_the_record_and_makes_a_new_key_each_time(records: Records) -> None:
    records.save(record(DOCUMENT))
    keys = [records.key(DOCUMENT)]
    for _ in range(2):
        records.start_over("gradients")
        keys.append(Records(records.folder).key(DOCUMENT))
    assert records.load("gradients") is None
    assert len(set(keys)) == 3


def test_a_file_that_is_no_record_is_named(records: Records) -> None:
    records.save(record(DOCUMENT))
    records.path("gradients").write_text('{"stem": "gradients"}')
    with pytest.raises(RecordWrong, match=r"gradients\.json .* Delete it"):
        records.load("gradients")

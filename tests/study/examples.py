"""Records of the study's own documents with histories made up here, shaped as a service gives them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from study.documents import PAPER, SweepDocument, read
from study.records import PointRecord, Record, TrialRecord
from study.trials import TrialOutcome, trials_of
from workers.spec.expand import plan_trials
from workers.spec.parse import parse_sweep
from workers.spec.trial import TrialSpec

Values = dict[str, float | None]
History = Callable[[TrialSpec], list[tuple[int, Values]] | None]
"""(step, values) of a trial's reports; None for one that diverges before its first."""

MACHINE = {"date": "2018-07-10", "source": "0123abc", "processor": "a processor, 2 cores", "torch": "2.11.0"}


def documents(*experiments: str, size: str = "cpu") -> list[SweepDocument]:
    return read(PAPER / size, experiments)


def history(spec: TrialSpec, *, better: float = 1.0, seconds: float = 60.0) -> list[tuple[int, Values]]:
    """Four reports on the way from the baseline; the last one has the test metrics. better: how far below it ends."""
    found: list[tuple[int, Values]] = []
    for i in range(1, 5):
        share = (1 - i / 4) + i / 4 * better
        loss = spec.task.baseline * share
        known = {
            "loss": loss,
            "error": math.sqrt(loss),
            "bpc": loss / math.log(2),
            "perplexity": math.exp(loss),
            "accuracy": 1 - share,
            "recall": 1 - share,
        }
        values: Values = {f"val/{name}": known[name] for name in spec.task.metrics}
        if i == 4:
            values |= {f"test/{name}": known[name] for name in spec.task.metrics}
        values |= {"grad/ratio": 0.5, "time/wall_s": seconds * i / 4, "throughput/sequences_per_s": 1000.0}
        values |= {f"grad_t/{t:02d}": 10.0 ** -(t / 4) for t in range(16)}
        found.append((spec.training.steps * i // 4, values))
    return found


def record(document: SweepDocument, made: History = history, data_dir: Path | None = None) -> Record:
    """The document's sweep as if it had run; the trials of each shape in one pack."""
    sweep = parse_sweep(document.content, data_dir)
    trials = [_trial(plan.require_spec(), made) for plan in plan_trials(sweep)]
    return Record(
        stem=document.stem,
        document=document.content,
        spec=sweep.model_dump(mode="json"),
        sweep_id=f"id-{document.stem}",
        state="succeeded",
        reason=None,
        machine=MACHINE,
        trials=trials,
    )


def _trial(spec: TrialSpec, made: History) -> TrialRecord:
    points = made(spec)
    metric = spec.objective.metric
    return TrialRecord(
        number=spec.number,
        params=dict(spec.params),
        state="failed" if points is None else "succeeded",
        reason="train/loss was nan at step 2" if points is None else None,
        cause="user" if points is None else None,
        step=points[-1][0] if points else 0,
        objective=points[-1][1][metric] if points else None,
        best_step=points[-1][0] if points else None,
        started_at=1000.0,
        ended_at=1100.0,
        pack=spec.shape_key,
        attempts=1,
        points=[PointRecord(step=step, values=values) for step, values in points or []],
    )


def trials(*experiments: str, made: History = history, size: str = "cpu") -> list[TrialOutcome]:
    """Of all the experiments' documents."""
    return [trial for document in documents(*experiments, size=size) for trial in trials_of(record(document, made))]

"""A sweep of 500 trials is drawn with bounded work: the rows in the document do not grow with the trials."""

from __future__ import annotations

import pytest

from service.store.database import Database
from tests.service.page import filled
from tests.service.page.conftest import OpenPage

GENEROUS_MS = 20_000
"""No claim about speed: a machine that is busy with other tests is slow. The measured times are printed."""


def test_500_trials_are_drawn_and_scrolled(
    open_page: OpenPage, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {
        "model.reflectors": {"values": list(range(1, 33))},
        "model.margin": {"low": 0.0001, "high": 0.5, "log": True},
    }
    sweep = filled.new_sweep(database, name="many", space=space, search={"sampler": "random", "trials": 500})
    filled.run(database, sweep, range(500), reports_each=3)
    filled.close(database, sweep, "succeeded")
    page = open_page()
    page.evaluate(
        """() => { window.long = [];
        new PerformanceObserver((list) => list.getEntries().forEach((e) => window.long.push(Math.round(e.duration))))
        .observe({ type: "longtask", buffered: true }); window.begun = performance.now(); }"""
    )
    page.evaluate("(id) => { location.hash = `#/sweeps/${id}`; }", sweep.id)
    page.wait_for_selector(".count:has-text('500 of 500 trials')")
    page.wait_for_selector(".canvas[data-ready=yes] >> nth=1")
    drawn = page.evaluate("performance.now() - window.begun")
    assert page.locator("tr[data-number]").count() < 60
    assert page.evaluate("document.querySelectorAll('*').length") < 2500
    drawing = page.evaluate("window.long.splice(0)")
    heights = []
    for share in (0.25, 0.5, 0.75, 1.0):
        page.evaluate(
            "(share) => { const f = document.querySelector('.table-frame'); f.scrollTop = share * f.scrollHeight; }",
            share,
        )
        page.wait_for_timeout(250)
        assert page.locator("tr[data-number]").count() < 60
        heights.append(page.evaluate("document.querySelector('.table-frame').scrollHeight"))
    page.wait_for_selector("tr[aria-rowindex='501']")
    assert len(set(heights)) == 1, "the table has its height whatever is in sight"
    scrolling = page.evaluate("window.long")
    with capsys.disabled():
        print(f"\n500 trials: drawn in {drawn:.0f} ms; long tasks: drawing {drawing} ms, scrolling {scrolling} ms")
    assert max([drawn, *drawing, *scrolling]) < GENEROUS_MS

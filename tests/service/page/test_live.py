"""A page that stays open: what one does on it survives every event, and it says when the service is gone."""

from __future__ import annotations

import csv
import random
import re
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import expect

from service.settings import ApiSettings
from service.store import pack_lines, reports, sweeps, trials
from service.store.database import Database
from tests.service.conftest import serving
from tests.service.page import filled
from tests.service.page.conftest import READY, OpenPage
from workers.protocol import OutputLine


@pytest.fixture
def report(database: Database, ids: dict[str, str]) -> Callable[[int, int], None]:
    """A function that lets one of the running trials report a step."""
    noise = random.Random(3)

    def report(number: int, step: int) -> None:
        with database.write() as session:
            trial = trials.get(session, trials.id_of(ids["running"], number))
            values = filled.values_at(step, 400, 0.9, 0.02, noise, True)
            filled.report(session, trial, [(step, values)], "val/accuracy", "maximize")

    return report


def test_scroll_selection_focus_and_open_panels_survive_events(
    open_page: OpenPage, ids: dict[str, str], report: Callable[[int, int], None]
) -> None:
    page = open_page(f"#/sweeps/{ids['running']}/trials", width=700, height=700)
    page.wait_for_selector("tr[data-number]")
    page.fill("input[type=search]", "running")
    page.wait_for_selector("tr[data-number='25']")
    page.locator("tr[data-number='26'] input").check()
    page.locator("#priority").press_sequentially("7")
    page.evaluate("document.querySelector('.warnings').open = false")
    page.evaluate("document.querySelector('details.health').open = true")
    page.evaluate(
        """() => { const frame = document.querySelector(".table-frame"); frame.scrollLeft = 120;
        window.row = document.querySelector("tr[data-number='25']");
        const range = document.createRange(); range.selectNodeContents(document.querySelector("h1"));
        getSelection().removeAllRanges(); getSelection().addRange(range); }"""
    )
    for step in (200, 240, 280):
        report(25, step)
        page.wait_for_selector(f"tr[data-number='25']:has-text('{step}')")
    page.wait_for_timeout(2500)  # the sweep itself is read again after the events
    assert page.evaluate("document.querySelector('.table-frame').scrollLeft") == 120
    assert page.evaluate("getSelection().toString()") == "running-now"
    assert page.evaluate("window.row === document.querySelector(\"tr[data-number='25']\")")
    expect(page.locator("tr[data-number='26'] input")).to_be_checked()
    assert page.input_value("input[type=search]") == "running"
    assert "7" in page.input_value("#priority"), "what is being typed stays, too"
    assert page.evaluate("document.querySelector('.warnings').open") is False
    assert page.evaluate("document.querySelector('details.health').open") is True


def test_a_running_sweep_has_one_stream_and_asks_for_what_has_changed(
    open_page: OpenPage, ids: dict[str, str], report: Callable[[int, int], None]
) -> None:
    page = open_page(f"#/sweeps/{ids['running']}")
    page.wait_for_selector(f"{READY} >> nth=1")
    page.wait_for_timeout(2500)
    asked: list[str] = []
    page.on("request", lambda sent: asked.append(sent.url.partition("/v1/")[2]))
    for step in range(200, 300, 10):
        report(26, step)
    page.wait_for_selector("tr[data-number='26']:has-text('290')")
    page.wait_for_timeout(2500)
    own, curve = f"sweeps/{ids['running']}", "curves?metric=val%2Faccuracy&points=300&trials=26"
    # the trial comes among the best ones, and its curve is asked for once
    assert [path for path in asked if path not in (own, "cluster")] in ([], [f"{own}/{curve}"])
    assert 1 <= asked.count(f"sweeps/{ids['running']}") <= 4


def test_metrics_of_an_open_trial_grow_with_its_events(
    open_page: OpenPage, ids: dict[str, str], report: Callable[[int, int], None]
) -> None:
    page = open_page(f"#/trials/{ids['running']}-0027", allowed="404 (Not Found)")
    page.wait_for_selector(READY)
    before = page.locator("text=/reports drawn, the last/").inner_text()
    report(27, 220)
    page.wait_for_function(
        """(before) => [...document.querySelectorAll(".strip .quiet")].some((e) =>
        /reports drawn, the last/.test(e.textContent) && e.textContent.split(" ")[0] !== before.split(" ")[0])""",
        arg=before,
    )
    page.wait_for_selector(".facts dd:has-text('220 of 400')")


def test_a_long_training_is_drawn_to_its_last_report(
    open_page: OpenPage, ids: dict[str, str], database: Database, report: Callable[[int, int], None]
) -> None:
    own, noise = trials.id_of(ids["running"], 28), random.Random(1)
    with database.write() as session:
        steps = [step for step in range(1, 3001) if step % 40]
        points = [(step, filled.values_at(step, 3000, 0.9, 0.02, noise, step % 10 == 0)) for step in steps]
        reports.add(session, own, points, filled.START)
    page = open_page(f"#/trials/{own}", allowed="404 (Not Found)")
    page.wait_for_selector(".strip:has-text('reports drawn, the last')")
    page.wait_for_selector(".canvas[aria-label^='Singular values of'][data-ready=yes]")
    with page.expect_download() as started:
        page.click("section[aria-label=accuracy] [title='Download as CSV']")
    rows = list(csv.reader(started.value.path().read_text().splitlines()))[1:]
    shown = [int(step) for metric, step, _ in rows if metric == "val/accuracy"]
    assert (shown[0], shown[-1]) == (1, 2999)
    assert 500 < len(shown) < 2100, "thinned by the service"
    assert max(b - a for a, b in pairwise(shown)) < 20, "over the whole training"
    report(28, 3020)
    page.wait_for_selector(".facts dd:has-text('3\u2009020 of 400')")
    with page.expect_download() as started:
        page.click("section[aria-label=accuracy] [title='Download as CSV']")
    assert ",3020," in started.value.path().read_text()


def test_what_a_worker_prints_is_shown_as_it_comes_once_and_up_to_the_end(
    open_page: OpenPage, ids: dict[str, str], database: Database
) -> None:
    own = trials.id_of(ids["running"], 27)

    def prints(seq: int, text: str) -> None:
        with database.write() as session:
            pack = trials.get(session, own).pack_id
            assert pack is not None
            line = OutputLine(seq=seq, at=filled.START + seq, stream="stdout", text=text, trial_id=own)
            pack_lines.add(session, pack, [line])

    page = open_page(f"#/trials/{own}", allowed="404 (Not Found)")
    page.wait_for_selector(".log .bad:has-text('ArithmeticError: no number')")
    for seq in range(100, 105):
        prints(seq, f"step {seq} <i>of</i> many")
    page.wait_for_selector(".log:has-text('step 104 <i>of</i> many')")
    prints(105, "the last words")
    with database.write() as session:
        trials.move(session, trials.get(session, own), "succeeded")
    page.wait_for_selector(".sweep-head .state.succeeded")
    page.wait_for_selector(".log:has-text('the last words')")
    texts = [text.split(" ", 1)[1] for text in page.locator(".log span").all_inner_texts()]
    steps = [f"step {seq} <i>of</i> many" for seq in range(100, 105)]
    assert [text.strip() for text in texts] == [line.text for line in filled.PRINTED] + [*steps, "the last words"]
    with page.expect_download() as started:
        page.click("text=Download")
    assert started.value.path().read_text().count("the last words") == 1


def test_the_end_of_a_sweep_is_shown_and_nothing_is_asked_for_any_more(
    open_page: OpenPage, ids: dict[str, str], database: Database
) -> None:
    page = open_page(f"#/sweeps/{ids['running']}/trials")
    page.wait_for_selector("tr[data-number]")
    with database.write() as session:
        sweeps.move(session, ids["running"], "cancelling")
        for trial in trials.page(session, ids["running"], ("waiting", "running"), 1000):
            trials.move(session, trial, "cancelled", "the sweep was cancelled")
        sweeps.move(session, ids["running"], "cancelled")
    page.wait_for_selector(".sweep-head .state.cancelled")
    page.wait_for_selector(".segments button:has-text('cancelled')")
    # a cancelled sweep says how far it came
    progress = page.locator(".sweep-head [role=progressbar]")
    expect(progress).to_have_attribute("aria-valuenow", re.compile(r"^([1-9]|[1-5]\d)(\.\d+)?$"))
    page.wait_for_timeout(4000)
    asked: list[str] = []
    page.on("request", lambda sent: asked.append(sent.url))
    page.wait_for_timeout(5000)
    assert [url for url in asked if "/sweeps" in url or "/trials" in url] == []


def test_an_unknown_sweep_or_trial_is_said_once(open_page: OpenPage, ids: dict[str, str]) -> None:
    page = open_page("#/sweeps/sw0000000000", allowed="404 (Not Found)")
    page.wait_for_selector("h1:has-text('There is no sweep sw0000000000')")
    asked: list[str] = []
    page.on("request", lambda sent: asked.append(sent.url))
    page.wait_for_timeout(5000)
    assert [url for url in asked if "/v1/sweeps" in url] == []
    page.click("text=All sweeps")
    page.wait_for_selector("tr[data-sweep]")
    page.goto(page.url.partition("#")[0] + f"#/trials/{ids['done']}-9999")
    page.wait_for_selector(f"h1:has-text('There is no trial {ids['done']}-9999')")
    page.goto(page.url.partition("#")[0] + "#/nowhere")
    page.wait_for_selector("h1:has-text('There is nothing at this address')")


@pytest.fixture
def restartable(settings: ApiSettings) -> Iterator[dict[str, Any]]:
    """A service that a test stops and starts again at the same port."""
    state: dict[str, Any] = {}

    def start(port: int = 0) -> str:
        state["running"] = serving(settings, port)
        return str(state["running"].__enter__())

    def stop() -> None:
        state.pop("running").__exit__(None, None, None)

    yield {"start": start, "stop": stop}
    if "running" in state:
        stop()


def test_a_service_that_is_gone_is_said_and_what_was_shown_stays(
    browser: Any, restartable: dict[str, Any], ids: dict[str, str], report: Callable[[int, int], None]
) -> None:
    address = restartable["start"]()
    port = int(address.rpartition(":")[2])
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{address}/#/sweeps/{ids['running']}/trials")
    page.wait_for_selector("tr[data-number]")
    restartable["stop"]()
    page.wait_for_selector(".banner:has-text('The service does not answer')")
    assert page.locator("tr[data-number]").count() > 5
    expect(page.locator("main")).to_have_class("old")
    time.sleep(0.5)
    restartable["start"](port)
    page.wait_for_selector(".banner", state="detached")
    report(25, 360)
    page.wait_for_selector("tr[data-number='25']:has-text('360')")
    assert page.locator("tr[data-number]").count() > 5
    context.close()

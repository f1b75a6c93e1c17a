"""What one does with trials and points that have ended: compare, replay, train on, extend, and point at them."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Route, expect

from service.store import sweeps, trials
from service.store.database import Database
from service.store.tables import TrialCheckpoint
from tests.service.page.conftest import READY, OpenPage
from tests.service.page.filled import new_sweep, run


def test_points_are_ranked_by_the_service_and_compared_when_they_are_picked(
    open_page: OpenPage, ids: dict[str, str]
) -> None:
    page = open_page(f"#/sweeps/{ids['repeated']}/trials")
    page.wait_for_selector(".count:has-text('3 points of 3 points')")
    rows = page.locator("tr[data-number]")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("3 of 3")
    expect(rows.first).to_contain_text(re.compile(r"0\.\d+ to 0\.\d+"))  # the 95 % interval
    expect(rows.last.locator("td").nth(2)).to_have_text("0")  # the number of the point, not of a trial
    with page.expect_download() as saved:
        page.click("button:text-is('CSV')")
    table = Path(saved.value.path()).read_text().splitlines()
    assert table[0].startswith("point,val/accuracy (mean),n,mean,sd,low,high,")
    assert len(table) == 1 + 3, "a line for each point"
    rows.nth(2).locator("input").check()
    page.wait_for_selector(".note:has-text('Pick another point')")
    rows.nth(0).locator("input").check()
    page.wait_for_selector(".verdicts:has-text('is better than point 0')")
    rows.nth(1).locator("input").check()
    expect(page.locator(".verdicts li")).to_have_count(3)
    expect(page.locator(".verdicts")).to_contain_text("not told apart")
    page.click("label:has-text('points') input")
    page.wait_for_selector(".count:has-text('9 of 9 trials')")


def test_charts_of_a_sweep_with_repeats_show_the_means_by_which_it_is_ranked(
    open_page: OpenPage, ids: dict[str, str]
) -> None:
    page = open_page(f"#/sweeps/{ids['repeated']}")
    expect(page.locator("label:has-text('Cells') select")).to_have_value("mean")
    page.select_option("label:has-text('Best') select", "4")
    page.wait_for_selector("[aria-label*='3 curves']")


def test_the_plane_of_values_that_a_sampler_draws_from_a_range_is_a_scatter_plot(
    open_page: OpenPage, database: Database
) -> None:
    margin = {"low": 0.001, "high": 0.3, "log": True}
    space = {"model.reflectors": {"values": [4, 8]}, "model.margin": margin}
    sweep = new_sweep(database, name="drawn", space=space, search={"sampler": "random", "trials": 6})
    run(database, sweep, range(6))
    page = open_page(f"#/sweeps/{sweep.id}/plane")
    page.wait_for_selector("[aria-label*='of 6 trials have a result']")
    expect(page.locator("label:has-text('Cells')")).to_have_count(0)


def test_a_trial_is_replayed_trained_on_and_compared(
    open_page: OpenPage, ids: dict[str, str], database: Database
) -> None:
    page = open_page(f"#/trials/{ids['replay']}-0000", allowed="Failed to load resource")
    page.wait_for_selector("[aria-label='Likeness to the original']:has-text('Different numbers')")
    page.click("[aria-label='Likeness to the original'] h2 a")
    page.wait_for_selector("h1:has-text('trial 5')")
    with database.write() as session:
        trial = trials.get(session, f"{ids['done']}-0005")
        session.add(TrialCheckpoint(trial_id=trial.id, step=trial.step, path="/c", best=True, objective=0.5))
    page.click("button:has-text('More steps')")
    page.fill("dialog input", "many")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog [role=alert]:has-text('steps')")
    page.fill("dialog input", "500")
    page.click("dialog button:has-text('Train on')")
    page.wait_for_selector("dialog[open]", state="detached")
    page.wait_for_selector(".sweep-head .state.waiting")
    page.wait_for_selector(".facts dd:has-text('400 of 500')")
    page.focus("button[aria-disabled]:has-text('Replay')")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]:has-text('only one that has ended is replayed')")
    page.click("dialog button:has-text('Close')")
    page.goto(page.url.partition("#")[0] + f"#/trials/{ids['done']}-0006")
    keys: list[str] = []

    def lose_the_first_answer(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        answer = route.fetch()
        route.fulfill(response=answer) if len(keys) > 1 else route.fulfill(status=503, json={"detail": "not known"})

    page.route("**/replay", lose_the_first_answer)
    page.click("button:has-text('Replay')")
    page.click("dialog button:has-text('Replay the trial')")
    page.wait_for_selector("dialog [role=alert]:has-text('not known')")
    page.click("dialog button:has-text('Replay the trial')")
    page.wait_for_selector(f"h1:has-text('replay of {ids['done']}-0006')")
    assert len(keys) == 2
    assert keys[0] == keys[1], "what may have had its effect has it once"


def test_a_sweep_is_extended(open_page: OpenPage, ids: dict[str, str], database: Database) -> None:
    page = open_page(f"#/sweeps/{ids['done']}/trials", allowed="422")
    page.click("button:has-text('Extend')")
    page.select_option("dialog select", "training.lr")
    page.fill("dialog input", "0.001")
    page.click("dialog button:has-text('Add them')")
    page.wait_for_selector("dialog [role=alert]:has-text('training.lr')")
    page.fill("dialog input", "0.03, 0.05")
    page.click("dialog button:has-text('Add them')")
    page.wait_for_selector(".sweep-head .state.running")
    with database.read() as session:
        assert sweeps.get(session, ids["done"]).trial_count == 120


def test_what_the_pointer_is_on_stands_out_elsewhere(open_page: OpenPage, ids: dict[str, str]) -> None:
    page = open_page(f"#/sweeps/{ids['done']}", height=1600)
    page.wait_for_selector(f"{READY} >> nth=1")
    best = page.locator("tr[data-number]").first
    number = best.get_attribute("data-number")
    best.hover()
    page.wait_for_selector(f".canvas[data-hovered='{number}'] >> nth=1")
    page.mouse.move(5, 5)
    page.wait_for_selector(".canvas[data-hovered='']")
    box = page.locator(".canvas").nth(1).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.4 * box["height"], steps=3)
    page.wait_for_selector("tr.hovered")
    page.locator(".table-frame").focus()
    page.keyboard.press("ArrowDown")
    second = page.locator(f"tr.active:not([data-number='{number}'])").get_attribute("data-number")
    page.wait_for_selector(f".canvas[data-hovered='{second}'] >> nth=1")

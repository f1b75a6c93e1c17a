"""What one does on the page: pick, filter, compare, download, steer, delete, submit, clone; also by keyboard."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from service.store import sweeps
from service.store.database import Database
from tests.service.page import filled
from tests.service.page.conftest import BEGUN, READY, OpenPage, open_view


def state_of(database: Database, sweep_id: str) -> str:
    with database.read() as session:
        return sweeps.get(session, sweep_id).state


def test_trials_are_sorted_filtered_and_counted(open_page: OpenPage, ids: dict[str, str]) -> None:
    page = open_page(f"#/sweeps/{ids['done']}/trials")
    page.wait_for_selector(".count:has-text('72 of 72 trials')")
    first = page.locator("tr[data-number]").first
    expect(first.locator("td").nth(1)).to_have_text("1")
    page.click("button.head:has-text('lr')")
    expect(page.locator("th:has(button.head:has-text('lr'))")).to_have_attribute("aria-sort", "ascending")
    expect(first.locator("td").nth(7)).to_have_text("0.001")
    page.click("button.head:has-text('lr')")
    expect(first.locator("td").nth(7)).to_have_text("0.01")
    page.fill("input[type=search]", "reflectors 16")
    page.wait_for_selector(".count:has-text('18 of 72 trials')")
    page.fill("input[type=search]", "")
    page.click(".segments button:has-text('failed')")
    page.wait_for_selector(".count:has-text('2 of 72 trials')")
    page.click("tr[data-number='17'] .chip")
    page.wait_for_selector("dialog:has-text('a lower training.lr or clip_norm may help')")
    page.keyboard.press("Escape")


def test_a_pick_shows_in_every_view_and_leads_to_a_comparison(open_page: OpenPage, ids: dict[str, str]) -> None:
    page = open_page(f"#/sweeps/{ids['seeds']}")
    page.wait_for_selector(f"{READY} >> nth=1")
    for number in (0, 1, 4):
        page.locator(f"tr[data-number='{number}'] input").check()
    page.wait_for_selector(".picked:has-text('3 trials picked')")
    for name in ("Plane", "Curves", "Parallel", "Timeline", "Best so far"):
        open_view(page, name)
        expect(page.locator(".picked")).to_contain_text("3 trials picked")
    page.click(".picked .chip >> nth=2")
    page.wait_for_selector(".picked:has-text('2 trials picked')")
    page.click(".picked a:has-text('Compare')")
    page.wait_for_selector("h1:has-text('Compare 2 trials')")
    page.wait_for_selector(READY)
    # seeds of one point are one column, with mean and interval
    expect(page.locator("table.compare")).to_contain_text("2 seeds")
    expect(page.locator("table.compare")).to_contain_text("95 %")


def test_a_click_on_a_cell_of_the_plane_picks_its_trials(open_page: OpenPage, ids: dict[str, str]) -> None:
    page = open_page(f"#/sweeps/{ids['done']}/plane")
    page.wait_for_selector(READY)
    box = page.locator(".canvas").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 0.4 * box["width"], box["y"] + 0.4 * box["height"])
    page.wait_for_selector(".picked:has-text('3 trials picked')")


@pytest.mark.parametrize("kind", ["png", "svg", "csv"])
def test_a_chart_is_downloaded(kind: str, open_page: OpenPage, ids: dict[str, str], tmp_path: Path) -> None:
    page = open_page(f"#/sweeps/{ids['done']}/curves")
    page.wait_for_selector(READY)
    page.wait_for_selector(f".downloads button[title='Download as {kind.upper()}']:enabled")
    page.wait_for_timeout(300)
    with page.expect_download() as waiting:
        page.click(f".downloads button[title='Download as {kind.upper()}']")
    file = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(file)
    content = file.read_bytes()
    assert file.name == f"{ids['done']}-val-accuracy.{kind}"
    if kind == "png":
        assert content.startswith(b"\x89PNG")
        assert len(content) > 10_000
    elif kind == "svg":
        assert content.startswith(b"<svg")
        assert b"val/accuracy" in content
        assert len(re.findall(rb">#\d+ reflectors", content)) == 8, "the legend of a file has no pages"
    else:
        rows = list(csv.reader(content.decode().splitlines()))
        assert rows[0] == ["trial", "step", "val/accuracy"]
        assert len(rows) == 1 + 8 * 10
        assert 0 < float(rows[1][2]) < 1


def test_cancelling_and_deleting_ask_before(open_page: OpenPage, ids: dict[str, str], database: Database) -> None:
    page = open_page(f"#/sweeps/{ids['running']}", allowed="404")
    page.click("button:has-text('Cancel')")
    page.wait_for_selector("dialog[open]:has-text('This cannot be undone')")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog[open]", state="detached")
    assert state_of(database, ids["running"]) == "running"
    page.click("button:has-text('Cancel')")
    page.click("dialog button:has-text('Cancel the sweep')")
    page.wait_for_selector(".sweep-head .state.cancelling")
    assert state_of(database, ids["running"]) == "cancelling"
    page.goto(page.url.partition("#")[0] + f"#/sweeps/{ids['seeds']}")
    page.click("button:has-text('Delete')")
    page.click("dialog button:has-text('Keep it as it is')")
    page.click("button:has-text('Delete')")
    page.click("dialog button:has-text('Delete the sweep')")
    page.wait_for_selector("tr[data-sweep]")
    page.wait_for_selector(f"tr[data-sweep='{ids['seeds']}']", state="detached")


def test_a_sweep_is_paused_and_resumed(open_page: OpenPage, ids: dict[str, str], database: Database) -> None:
    page = open_page(f"#/sweeps/{ids['running']}/curves")
    page.click("button:has-text('Pause')")
    page.wait_for_selector(".sweep-head .state.paused")
    page.click("button:has-text('Resume')")
    page.wait_for_selector(".sweep-head .state.running")
    expect(page).to_have_url(re.compile("/curves$"))


def test_priority_and_trials_at_once_are_changed(open_page: OpenPage, ids: dict[str, str], database: Database) -> None:
    page = open_page(f"#/sweeps/{ids['running']}/trials", allowed="422")
    for field, text in (("#priority", "3"), ("#max-parallel", "2")):
        page.fill(field, text)
        with page.expect_response(lambda answer: answer.request.method == "PATCH" and answer.ok):
            page.locator(field).press("Tab")
    with database.read() as session:
        row = sweeps.get(session, ids["running"])
        assert (row.priority, row.max_parallel) == (3, 2)
    page.fill("#priority", "no number")
    page.locator("#priority").press("Tab")
    page.wait_for_selector("p[role=alert]:has-text('priority')")


def test_a_sweep_is_submitted_by_the_form(open_page: OpenPage, database: Database) -> None:
    page = open_page("#/new", allowed="422")
    page.wait_for_selector(".verdict.good:has-text('4 trials')")
    page.fill("[id='field-name']", "by-form")
    page.fill("[id='field-model.hidden_size']", "-3")
    page.locator("[id='field-model.hidden_size']").press("Tab")
    page.wait_for_selector(".verdict.bad:has-text('model.hidden_size')")
    expect(page.locator("[id='field-model.hidden_size']")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("button:has-text('Submit')")).to_be_disabled()
    page.fill("[id='field-model.hidden_size']", "16")
    page.fill("[aria-label='Values of model.reflectors']", "2, 4, 8")
    page.locator("[aria-label='Values of model.reflectors']").press("Tab")
    page.wait_for_selector(".verdict.good:has-text('6 trials')")
    page.fill("[id='field-tags']", "red, big")
    page.locator("[id='field-tags']").press("Tab")
    expect(page.locator("textarea")).to_have_value(re.compile('"tags": .*"red".*"big"', re.DOTALL))
    document = json.loads(page.input_value("textarea"))
    assert (document["model"]["hidden_size"], document["tags"]) == (16, ["red", "big"])
    assert document["space"]["model.reflectors"] == {"values": [2, 4, 8]}
    page.click("button:has-text('Submit')")
    page.wait_for_selector("h1:has-text('by-form')")
    with database.read() as session:
        (row,) = [one for one in sweeps.page(session) if one.name == "by-form"]
    assert row.trial_count == 6


def test_the_document_can_be_typed_and_its_errors_are_the_services_own(open_page: OpenPage) -> None:
    page = open_page("#/new", allowed="422")
    page.wait_for_selector(".verdict.good")
    page.fill("textarea", '{"task": ')
    page.wait_for_selector(".verdict.bad:has-text('Not JSON')")
    page.fill("textarea", '{"task": {"name": "adding"}, "space": {"model.margin": {"values": [2]}}}')
    page.wait_for_selector(".verdict.bad:has-text('space.model.margin')")
    page.wait_for_selector(".dimension.wrong:has-text('model.margin')")


def test_a_sweep_is_cloned_without_its_defaults(open_page: OpenPage, ids: dict[str, str]) -> None:
    page = open_page(f"#/new?from={ids['done']}")
    page.wait_for_selector(".verdict.good:has-text('72 trials')")
    document = json.loads(page.input_value("textarea"))
    assert document == {
        "name": "digits-margin-copy",
        "task": {"name": "digits"},
        "model": {"hidden_size": 32},
        "training": {"steps": 400, "lr": 0.003, "report_every": 20},
        "space": {
            "model.reflectors": {"values": [2, 4, 8, 16]},
            "model.margin": {"low": 0.001, "high": 0.3, "log": True, "grid": 6},
            "training.lr": {"values": [0.001, 0.003, 0.01]},
        },
        "objective": {"metric": "val/accuracy"},
    }


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.textContent"))


def test_the_page_is_used_by_the_keyboard_alone(open_page: OpenPage, ids: dict[str, str]) -> None:
    page = open_page(allowed="404 (Not Found)")  # MLflow has no model of the trial that is opened
    page.wait_for_selector("tr[data-sweep]")

    def tab_to(words: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if words in focused(page):
                return
        raise AssertionError(f"no focus on {words}")

    page.keyboard.press("Tab")
    assert "Skip to the content" in focused(page)
    tab_to("digits-margin")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('digits-margin')")
    tab_to("Trials")
    page.keyboard.press("Enter")
    page.wait_for_selector("tr[data-number]")
    tab_to("arrow keys move")
    best = page.locator("tr[data-number]").first.get_attribute("data-number")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.wait_for_selector(".picked:has-text('2 trials picked')")
    page.keyboard.press("End")
    page.wait_for_selector("tr[aria-rowindex='73']")
    page.keyboard.press("Home")
    page.wait_for_selector(f"tr[data-number='{best}'].active")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"h1:has-text('trial {best}')")


def test_the_list_is_searched_sorted_and_filtered(open_page: OpenPage) -> None:
    page = open_page()
    page.wait_for_selector(".count:has-text('6 sweeps')")
    page.fill("input[type=search]", "seeds digits")
    page.wait_for_selector(".count:has-text('1 of 6 sweeps')")
    page.fill("input[type=search]", "")
    page.click(".segments button:has-text('cancelled')")
    page.wait_for_selector(".count:has-text('1 sweep')")
    row = page.locator("tr[data-sweep]")
    expect(row).to_contain_text("cancelled-early")
    expect(row.locator("[role=progressbar]")).to_have_attribute("aria-valuenow", BEGUN)
    page.click(".segments button:has-text('cancelled')")
    page.wait_for_selector(".count:has-text('6 sweeps')")
    page.click("button.head:has-text('best')")
    page.wait_for_selector("th[aria-sort=descending]:has-text('best')")
    expect(page.locator(".cluster")).to_contain_text("3 / 8")
    values = [float(text) for text in page.locator("tr[data-sweep] td:nth-child(5)").all_inner_texts()]
    assert values == sorted(values, reverse=True)
    assert len(values) == 6
    expect(page.locator("svg.sparkline")).to_have_count(6)
    expect(page.locator("svg.sparkline").first).to_have_attribute(
        "aria-label", re.compile("^best val/accuracy so far: ")
    )


def test_sweeps_are_tagged_filtered_by_a_tag_and_archived(
    open_page: OpenPage, ids: dict[str, str], database: Database
) -> None:
    page = open_page(allowed="422")
    page.click("[aria-label='Filter by tag baseline']")
    page.wait_for_selector(".count:has-text('1 sweep')")
    page.click(f"tr[data-sweep='{ids['seeds']}'] .name a")
    page.fill("#tags", "two, words")
    page.locator("#tags").press("Tab")
    page.wait_for_function("() => document.querySelector('#tags').value === 'two words'")
    page.fill("#tags", "x" * 41)
    page.locator("#tags").press("Tab")
    page.wait_for_selector("p[role=alert]:has-text('tags.0')")
    page.click("button:has-text('Archive')")
    page.wait_for_selector(".title .chip:has-text('archived')")
    with database.read() as session:
        row = sweeps.get(session, ids["seeds"])
        assert (row.archived, row.spec["tags"]) == (True, ["two", "words"])
    page.click("nav a:has-text('Sweeps')")
    page.click("[aria-label='Show sweeps without the tag baseline again']")
    page.wait_for_selector(".count:has-text('5 sweeps')")
    page.click("button:has-text('Show archived')")
    page.click(f"tr[data-sweep='{ids['seeds']}'] button:has-text('Unarchive')")
    page.wait_for_selector(".count:has-text('0 sweeps')")
    page.click("button:has-text('Show archived')")
    page.wait_for_selector(".count:has-text('6 sweeps')")


def test_trials_that_learn_other_data_are_not_ranked_as_one(open_page: OpenPage, database: Database) -> None:
    sweep = filled.over_two_lengths(database)
    page = open_page(f"#/sweeps/{sweep.id}/trials")
    page.wait_for_selector(".strip:has-text('not compared with each other')")
    expect(page.locator("tr[data-number]")).to_have_count(2)
    expect(page.locator(".best > span")).to_have_count(2)
    page.select_option(".strip select", "length 50")
    page.wait_for_selector(".strip:has-text('2 of 4 trials')")


def test_several_objectives_have_a_trade_off(open_page: OpenPage, ids: dict[str, str], database: Database) -> None:
    sweep = filled.new_sweep(
        database,
        name="small-and-good",
        further_objectives=[{"metric": "parameters", "direction": "minimize"}],
        space={"model.hidden_size": {"values": [8, 16, 32]}, "model.margin": {"values": [0.01, 0.1]}},
    )
    filled.run(database, sweep, range(6), reports_each=5)
    filled.close(database, sweep, "succeeded")
    page = open_page(f"#/sweeps/{sweep.id}")
    asked: list[Route] = []
    page.route("**/report?include=pareto", lambda route: asked.append(route))
    page.click(".tabs a:has-text('Trade-off')")
    page.wait_for_selector("section[aria-label='Trade-off']:has-text('Computing …')")
    for route in asked:
        route.continue_()
    page.unroute("**/report?include=pareto")
    page.wait_for_selector(f"section[aria-label='Trade-off'] {READY}")
    expect(page.locator(".chart")).to_contain_text("of 6 trials are beaten by no other")
    page.goto(page.url.partition("#")[0] + f"#/sweeps/{ids['done']}")
    page.wait_for_selector("h1:has-text('digits-margin')")
    expect(page.locator(".tabs a:has-text('Trade-off')")).to_have_count(0)

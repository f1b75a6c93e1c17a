"""Every view in a real browser: it shows what it is for, has no serious finding of axe, and fits on a phone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.service.page.conftest import OpenPage

AXE = (Path(__file__).parent / "vendor" / "axe-4.14.1.js").read_text()
VIEWS = {
    "list": ("", "tr[data-sweep]"),
    "overview": ("#/sweeps/{done}", ".canvas[data-ready=yes] >> nth=1"),
    "trials": ("#/sweeps/{done}/trials", "tr[data-number]"),
    "plane": ("#/sweeps/{done}/plane", ".canvas[data-ready=yes]"),
    "curves": ("#/sweeps/{done}/curves", ".canvas[data-ready=yes]"),
    "parallel": ("#/sweeps/{done}/parallel", ".canvas[data-ready=yes]"),
    "slices": ("#/sweeps/{done}/slices", ".canvas[data-ready=yes] >> nth=2"),
    "importance": ("#/sweeps/{done}/importance", ".chart"),
    "timeline": ("#/sweeps/{done}/timeline", ".canvas[data-ready=yes]"),
    "best": ("#/sweeps/{done}/best", ".canvas[data-ready=yes]"),
    "data": ("#/sweeps/{done}/data", ".plain-table"),
    "document": ("#/sweeps/{done}/document", "pre"),
    "trial": ("#/trials/{done}-0005", ".canvas[data-ready=yes] >> nth=3"),
    "failed trial": ("#/trials/{done}-0017", ".attempts li"),
    "points": ("#/sweeps/{repeated}/trials", ".verdicts, .note"),
    "replay": ("#/trials/{replay}-0000", "[aria-label='Metrics that differ']"),
    "compare": ("#/compare?trials={done}-0001,{seeds}-0002,{done}-0003", ".canvas[data-ready=yes]"),
    "new": ("#/new", ".verdict.good"),
    "clone": ("#/new?from={done}", ".verdict.good"),
    "missing": ("#/sweeps/sw0000000000", ".nothing"),
}


def findings(page: Page) -> list[str]:
    """Return what axe finds that is serious or critical, with the first elements."""
    page.evaluate(AXE)
    found: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {[node['html'][:200] for node in one['nodes'][:3]]} {one['nodes'][0]['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def allowed_in(view: str) -> str:
    """Return the message that a browser itself writes to the console for an answer that the view expects."""
    return "404 (Not Found)" if view in ("trial", "failed trial", "replay", "missing") else ""


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_shows_itself_without_a_serious_finding(view: str, open_page: OpenPage, ids: dict[str, str]) -> None:
    address, shown = VIEWS[view]
    page = open_page(address.format(**ids), allowed=allowed_in(view))
    page.wait_for_selector(shown)
    expect(page).to_have_title(re.compile(".{4}Spectral$"))
    assert findings(page) == []


@pytest.mark.parametrize("view", ["list", "overview", "trial", "new", "compare"])
def test_dark_colours_have_contrast(view: str, open_page: OpenPage, ids: dict[str, str]) -> None:
    address, shown = VIEWS[view]
    page = open_page(address.format(**ids), allowed=allowed_in(view), dark=True)
    page.wait_for_selector(shown)
    assert findings(page) == []


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_fits_on_a_phone(view: str, open_page: OpenPage, ids: dict[str, str]) -> None:
    address, shown = VIEWS[view]
    page = open_page(address.format(**ids), allowed=allowed_in(view), width=400, height=800)
    page.wait_for_selector(shown)
    wide = page.evaluate(
        """() => document.documentElement.scrollWidth <= 400 ? [] : [...document.querySelectorAll("main *")]
        .filter((e) => e.getBoundingClientRect().right > 401)
        .filter((e) => !e.closest(".table-frame, .tabs, pre, .scroll, .canvas"))
        .map((e) => `${e.tagName}.${e.className}`).slice(0, 5)"""
    )
    assert wide == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.parametrize("width", [800, 1024, 1300, 1600])
def test_what_one_does_with_a_sweep_is_in_sight(width: int, open_page: OpenPage) -> None:
    page = open_page(width=width)
    page.wait_for_selector("tr[data-sweep] button:has-text('Archive')")
    cut = page.evaluate(
        """() => [...document.querySelectorAll("tr[data-sweep] .held > *, .card-head button, .card-head .button")]
        .filter((e) => { const own = e.getBoundingClientRect(), frame = e.closest(".card").getBoundingClientRect();
          return own.right > frame.right || own.left < frame.left; }).map((e) => e.textContent)"""
    )
    assert cut == []


def test_old_addresses_of_sweeps_still_lead_to_them(open_page: OpenPage, ids: dict[str, str]) -> None:
    page = open_page(f"#{ids['done']}")
    page.wait_for_selector("h1:has-text('digits-margin')")
    expect(page).to_have_url(re.compile(f"#/sweeps/{ids['done']}$"))


def test_the_documentation_of_the_api_is_shown(open_page: OpenPage) -> None:
    page = open_page("docs")
    page.wait_for_selector("h2:has-text('POST /v1/sweeps/{sweep_id}/extend')")

"""The address of a view has what is chosen in it: after a reload, after Back and Forward, and in another browser."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from service.store.database import Database
from tests.service.page import filled
from tests.service.page.conftest import READY, OpenPage, open_view

METRIC, X, Y = "label:has-text('Metric') select", "label:has-text('x') > select", "label:has-text('y') > select"


def hash_of(page: Page, ending: str) -> str:
    """Return the part of the address after the host, once it ends as the test expects."""
    page.wait_for_function("(ending) => decodeURIComponent(location.hash).endsWith(ending)", arg=ending)
    return str(page.evaluate("location.hash"))


def expect_curves_as_chosen(page: Page) -> None:
    """Wait until the curves are drawn as the test has chosen it."""
    page.wait_for_selector("section[aria-label='Learning curves'] " + READY)
    page.wait_for_selector(".picked:has-text('3 trials picked')")
    expect(page.locator(METRIC)).to_have_value("train/loss")
    expect(page.locator("label:has-text('Smoothing') input")).to_have_value("0.6")
    expect(page.locator("label:has-text('log x') input")).not_to_be_checked()
    expect(page.locator("label:has-text('log y') input")).to_be_checked()


def test_curves_planes_and_picks_survive_a_reload_back_and_forward(open_page: OpenPage, ids: dict[str, str]) -> None:
    page = open_page(f"#/sweeps/{ids['done']}")
    page.wait_for_selector(f"{READY} >> nth=1")
    for number in (4, 5, 1):
        page.fill("input[type=search]", f"#{number},")
        page.locator(f"tr[data-number='{number}'] input").check()
    page.fill("input[type=search]", "")
    page.click(".tabs a:has-text('Curves')")
    page.wait_for_selector(f"{METRIC} option:text-is('train/loss')", state="attached")
    page.select_option(METRIC, "train/loss")
    page.locator("label:has-text('Smoothing') input").fill("0.6")
    page.check("label:has-text('log y') input")
    curves = hash_of(page, "?trials=4-5,1&metric=train/loss&smooth=0.6&log=y")
    expect_curves_as_chosen(page)
    open_view(page, "Plane")
    page.select_option(X, "training.lr")
    page.select_option(Y, "model.margin")
    page.select_option("label:has-text('Colours') select", "rank")
    plane = hash_of(page, "&x=training.lr&y=model.margin&colours=rank")
    page.go_back()
    page.wait_for_selector(".tabs a[aria-current]:has-text('Curves')")
    expect_curves_as_chosen(page)
    assert page.evaluate("location.hash") == curves
    page.go_forward()
    page.wait_for_selector("h2:has-text('margin \u00d7 lr')")
    page.reload()
    page.wait_for_selector("h2:has-text('margin \u00d7 lr')")
    page.wait_for_selector(".picked:has-text('3 trials picked')")
    assert page.evaluate("location.hash") == plane
    expect(page.locator("label:has-text('Colours') select")).to_have_value("rank")
    expect(page.locator("main .warn")).to_have_count(0)
    other = open_page(curves)
    expect_curves_as_chosen(other)
    page.click(".picked button:has-text('Clear')")
    page.wait_for_function("() => !location.hash.includes('trials=')")
    hash_of(page, "/plane?metric=train/loss&smooth=0.6&log=y&x=training.lr&y=model.margin&colours=rank")


def test_the_table_slices_and_points_are_in_the_address(open_page: OpenPage, ids: dict[str, str]) -> None:
    page = open_page(f"#/sweeps/{ids['done']}/trials?sort=-training.lr&find=reflectors+16&states=succeeded,failed")
    page.wait_for_selector("tr[data-number]")
    expect(page.locator("th:has(button.head:has-text('lr'))")).to_have_attribute("aria-sort", "descending")
    expect(page.locator("input[type=search]")).to_have_value("reflectors 16")
    expect(page.locator(".segments button[aria-pressed=true]")).to_have_count(2)
    page.click(".tabs a:has-text('Slices')")
    page.wait_for_selector(f"{READY} >> nth=2")
    page.click(".segments button:has-text('lr')")
    page.wait_for_selector("h2:text-is('lr')", state="detached")
    hash_of(page, "&fields=model.reflectors,model.margin")
    repeated = open_page(f"#/sweeps/{ids['repeated']}/trials?points=0")
    repeated.wait_for_selector(".count:has-text('9 of 9 trials')")
    repeated.check("label:has-text('points') input")
    repeated.wait_for_selector(".count:has-text('3 points of 3 points')")
    hash_of(repeated, f"#/sweeps/{ids['repeated']}/trials")


def test_trials_and_comparisons_are_drawn_as_their_address_says(open_page: OpenPage, ids: dict[str, str]) -> None:
    page = open_page(f"#/trials/{ids['done']}-0005?log=y&smooth=0.5", allowed="404 (Not Found)")
    page.wait_for_selector(READY)
    expect(page.locator("label:has-text('log y') input")).to_be_checked()
    page.click("a[title='Next trial']")
    page.wait_for_selector("h1:has-text('trial 6')")
    hash_of(page, "-0006?log=y&smooth=0.5")
    compared = open_page(f"#/compare?trials={ids['done']}-0001,{ids['seeds']}-0002&metric=val/loss&mean=1")
    compared.wait_for_selector(READY)
    expect(compared.locator(METRIC)).to_have_value("val/loss")
    expect(compared.locator("label:has-text('mean over seeds') input")).to_be_checked()


def test_what_an_address_asks_for_and_is_not_there_is_said(
    open_page: OpenPage, ids: dict[str, str], database: Database
) -> None:
    asked = "metric=val/nothing&trials=3,some,900-5000&smooth=2&log=z&mean=yes?no"
    page = open_page(f"#/sweeps/{ids['done']}/curves?{asked}")
    page.wait_for_selector(".picked:has-text('1 trial picked')")
    page.wait_for_selector(READY)
    for part in ("metric val/nothing", "smooth 2", "log z", "mean yes?no", "trials some, 2899-5000, 900-2898"):
        expect(page.locator("main .warn")).to_contain_text(part)
    expect(page.locator(METRIC)).to_have_value("val/accuracy")
    page.goto(page.url.partition("#")[0] + f"#/sweeps/{ids['done']}/plane?x=model.nothing&y=training.lr&cells=worst")
    page.wait_for_selector("h2:has-text('lr \u00d7 margin')")
    page.wait_for_selector("main .warn:has-text('x model.nothing; cells worst')")
    page.goto(page.url.partition("#")[0] + f"#/sweeps/{ids['done']}/plane")
    page.wait_for_selector("main .warn", state="detached")
    sweep = filled.over_two_lengths(database)
    page.goto(page.url.partition("#")[0] + f"#/sweeps/{sweep.id}/trials?data=length+50")
    page.wait_for_selector("tr[data-number='2']")
    expect(page.locator(".strip select")).to_have_value("length 50")
    page.goto(page.url.partition("#")[0] + f"#/sweeps/{sweep.id}/trials?data=length+70")
    page.wait_for_selector("main .warn:has-text('data length 70')")
    expect(page.locator(".strip select")).to_have_value("length 20")


def test_the_link_is_copied_with_what_is_chosen(open_page: OpenPage, ids: dict[str, str]) -> None:
    page = open_page(f"#/sweeps/{ids['done']}/best")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.wait_for_selector(READY)
    page.select_option("label:has-text('Over') select", "time")
    page.click("button:has-text('Copy link')")
    page.wait_for_selector(".said:has-text('The link is copied.')")
    copied = str(page.evaluate("navigator.clipboard.readText()"))
    assert copied.endswith(f"/#/sweeps/{ids['done']}/best?over=time")
    page.goto("about:blank")
    page.goto(copied)
    page.wait_for_selector(READY)
    expect(page.locator("label:has-text('Over') select")).to_have_value("time")

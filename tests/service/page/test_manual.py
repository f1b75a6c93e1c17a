"""The manual of the service: read and searched in a browser, under the policy of the page, from the service alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from service.api import manual
from service.api.page import POLICY
from service.settings import ApiSettings
from tests.service.conftest import serving
from tests.service.page.conftest import OpenPage


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where the API looks for the site: that of the fixture ``site`` for a test with a browser, else nowhere yet."""
    if "open_page" not in request.fixturenames:
        return tmp_path / "site"
    found: Path = request.getfixturevalue("site")
    return found


@pytest.fixture
def base(settings: ApiSettings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(manual, "FOLDERS", (folder.parent / "not-here", folder))
    with serving(settings) as address:
        yield address


def test_the_manual_is_read_and_searched_in_a_browser(open_page: OpenPage, base: str) -> None:
    page = open_page()
    page.click("nav a:has-text('Manual')")
    page.wait_for_url(f"{base}/manual/")
    page.click("article a:has-text('tutorial')")
    page.wait_for_selector("h1:has-text('Tutorial')")
    page.click(".md-search__input")
    page.keyboard.type("reflectors margin")
    page.click(".md-search-result__link >> nth=0")
    page.wait_for_selector("article mark")
    page.click("label[title=Dark]:visible, label[title=Light]:visible")
    page.wait_for_selector("body[data-md-color-scheme=slate]")
    page.goto(f"{base}/manual/reference/rest.html")
    # it is remembered from page to page
    expect(page.locator("body")).to_have_attribute("data-md-color-scheme", "slate")


def test_without_a_site_the_address_says_how_to_build_it(base: str, folder: Path) -> None:
    with httpx.Client(base_url=base) as client:
        for address in ("/manual/", "/manual/tutorial.html"):
            answer = client.get(address)
            assert answer.status_code == 404
            assert "Run <code>make docs</code>" in answer.text
            assert answer.headers["content-security-policy"] == POLICY["Content-Security-Policy"]
        folder.mkdir()
        (folder / "index.html").write_text("<h1>Built meanwhile</h1>")
        (folder.parent / "secret.html").write_text("secret")
        assert client.get("/manual", follow_redirects=True).text == "<h1>Built meanwhile</h1>"
        for address in ("/manual/nowhere.html", "/manual/%2e%2e/secret.html", "/manual/..%2fsecret.html"):
            answer = client.get(address)
            assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), address
        assert client.post("/manual/").status_code == 405

"""The page of a service that needs a token: sign in, work, sign out."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from service.access.administration import create_token
from service.settings import ApiSettings
from service.store.database import Database
from tests.service.page.conftest import OpenPage


@pytest.fixture
def settings(url: str) -> ApiSettings:
    return ApiSettings(database_url=url, auth="tokens", event_poll_seconds=0.05)


def test_one_signs_in_with_a_token_and_out_again(open_page: OpenPage, database: Database, ids: dict[str, str]) -> None:
    token = create_token(database, "ada", "admin", 3600)[1]
    page = open_page(f"#/sweeps/{ids['done']}/trials", allowed="401")
    page.wait_for_selector("h1:has-text('Sign in')")
    assert "digits-margin" not in page.inner_text("body"), "a stranger sees nothing"
    page.fill("[aria-label=Token]", "srs_wrong")
    page.click("main button:has-text('Sign in')")
    page.wait_for_selector("p[role=alert]:has-text('token')")
    expect(page.locator("[aria-label=Token]")).to_have_value("")  # a token stays nowhere
    page.fill("[aria-label=Token]", token)
    page.click("main button:has-text('Sign in')")
    page.wait_for_selector("h1:has-text('digits-margin')")
    page.wait_for_selector(".who:has-text('ada (admin)')")
    page.wait_for_selector("tr[data-number]")
    assert token not in page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])")
    page.click("button:has-text('Sign out')")
    page.wait_for_selector("h1:has-text('Sign in')")

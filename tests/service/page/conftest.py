"""The API over a filled SQLite database, and a real Chromium that looks at its page.

Every page that a test opens is watched: an error on its console or a request to another host fails the test.

A page draws what changed a moment after a click or an answer. So a test waits for what it wants to see: it looks with
``expect``, which asks again until it holds, or reads a value after it has waited for something that came with it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright import sync_api
from playwright.sync_api import Browser, Page

from service.settings import ApiSettings
from service.store import migrations
from service.store.database import Database
from tests.service.conftest import serving
from tests.service.page import filled

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT = 60_000
"""How many milliseconds a test waits for what must come: machines may be busy."""
sync_api.expect.set_options(timeout=WAIT)

BEGUN = re.compile(r"^[1-9]\d?(\.\d+)?$")
"""The per cent of a progress bar that has begun and is not at its end."""

OpenPage = Callable[..., Page]

READY = ".canvas[data-ready=yes]"
"""The selector of a chart that is drawn."""


def open_view(page: Page, name: str) -> None:
    """Click on the tab of a view of a sweep and wait until this view, not the one before it, has a drawn chart."""
    page.click(f".tabs a:has-text('{name}')")
    page.wait_for_selector(f".tabs a[aria-current=page]:has-text('{name}')")
    page.wait_for_selector(READY)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one worker run all tests that need a browser, so that one browser is started."""
    for item in items:
        if "open_page" in getattr(item, "fixturenames", ()) or "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("browser"))


# not for the session: playwright keeps an event loop running, beside which no other test can run one
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no Chromium is installed: none of {', '.join(NAMES)} is a command here")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def filled_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A database with sweeps in several states, and their ids by name."""
    path = tmp_path_factory.mktemp("page") / "filled.db"
    url = f"sqlite:///{path}"
    migrations.upgrade(url)
    database = Database(url)
    done = filled.new_sweep(database)
    filled.run(database, done, range(72), reports_each=10)
    filled.close(database, done, "succeeded")
    seeds = filled.new_sweep(
        database,
        name="seeds",
        tags=["baseline", "small"],
        space={"model.margin": {"values": [0.01, 0.1]}, "training.seed": {"values": [0, 1, 2]}},
    )
    filled.run(database, seeds, range(6), reports_each=10)
    filled.close(database, seeds, "succeeded")
    cancelled = filled.new_sweep(database, name="cancelled-early")
    filled.run(database, cancelled, range(20), until=0.5, reports_each=10)
    filled.close(database, cancelled, "cancelled")
    running = filled.new_sweep(database, name="running-now")
    filled.run(database, running, range(24), reports_each=10)
    filled.run(database, running, range(24, 30), until=0.4, reports_each=10, end=False)
    repeated = filled.new_sweep(
        database, name="repeated", repeats=3, space={"model.margin": {"values": [0.001, 0.03, 0.031]}}
    )
    filled.run(database, repeated, range(9), reports_each=10)
    filled.close(database, repeated, "succeeded")
    replay = filled.replay_of(database, done, 5)
    filled.healthy(database)
    database.close()
    ids = {"done": done.id, "seeds": seeds.id, "cancelled": cancelled.id, "running": running.id}
    return path, ids | {"repeated": repeated.id, "replay": replay.id}


@pytest.fixture
def url(filled_file: tuple[Path, dict[str, str]], tmp_path: Path) -> str:
    """The URL of a copy of the filled database."""
    for file in filled_file[0].parent.glob("filled.db*"):
        shutil.copy(file, tmp_path / file.name)
    return f"sqlite:///{tmp_path / 'filled.db'}"


@pytest.fixture
def ids(filled_file: tuple[Path, dict[str, str]]) -> dict[str, str]:
    return filled_file[1]


@pytest.fixture
def settings(url: str) -> ApiSettings:
    return ApiSettings(database_url=url, mlflow_public_url="http://mlflow:5000", event_poll_seconds=0.05)


@pytest.fixture
def base(settings: ApiSettings) -> Iterator[str]:
    with serving(settings) as address:
        yield address


@pytest.fixture
def open_page(browser: Browser, base: str, request: pytest.FixtureRequest) -> Iterator[OpenPage]:
    """A function that opens an address of the page, and returns it when it shows something.

    ``width``, ``height`` and ``dark`` describe the window. Messages that a test expects are put into ``page.allowed``.
    """
    opened: list[tuple[Any, Any, list[str]]] = []

    def visit(hash: str = "", *, width: int = 1400, height: int = 900, dark: bool = False, allowed: str = "") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", accept_downloads=True
        )
        page = context.new_page()
        page.set_default_timeout(WAIT)
        faults: list[str] = []

        def heard(message: Any) -> None:
            if message.type == "error" and not (allowed and allowed in message.text):
                faults.append(f"console: {message.text} ({message.location})")

        page.on("console", heard)
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("request", lambda sent: None if is_own(sent.url, base) else faults.append(f"request to {sent.url}"))
        opened.append((context, page, faults))
        page.goto(f"{base}/{hash}")
        page.wait_for_selector("main h1, main h2, main .verdict")
        return page

    yield visit
    found = [fault for _, _, faults in opened for fault in faults]
    for context, _, _ in opened:
        context.close()
    assert found == []


def is_own(url: str, base: str) -> bool:
    return url.startswith((f"{base}/", "data:", "blob:"))

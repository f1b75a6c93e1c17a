"""The files of the page: libraries as their manifest says, imports that lead somewhere, and how they are served."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path

import httpx
import pytest
from matplotlib.colors import to_hex

from service.api.page import FOLDER, POLICY
from service.report import drawing

ROOT = Path(__file__).parents[3]
VENDORS = [FOLDER / "vendor", Path(__file__).parent / "vendor"]
SCRIPTS = sorted(path for path in FOLDER.rglob("*.js") if "vendor" not in path.parts)


@pytest.mark.parametrize("folder", VENDORS, ids=["page", "tests"])
def test_vendored_files_are_those_of_the_manifest(folder: Path) -> None:
    packages = json.loads((folder / "manifest.json").read_text())["packages"]
    assert packages
    listed = {"manifest.json"}
    for package in packages:
        assert package["version"] in package["url"]
        assert package["url"].startswith("https://registry.npmjs.org/")
        assert re.fullmatch("[0-9a-f]{64}", package["sha256"])
        assert package["licence"]
        assert any(file["to"].startswith("licenses/") for file in package["files"]), f"{package['name']} has no licence"
        for file in package["files"]:
            content = (folder / file["to"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == file["sha256"], file["to"]
            assert file["to"].startswith("licenses/") or package["version"] in file["to"]
            listed.add(file["to"])
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == listed


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_imports_lead_to_files_of_the_page_alone(script: Path) -> None:
    text = script.read_text()
    for name in re.findall(
        r'^(?:import|export)\b[^"\n]*?from "([^"]+)"|import\("(\./[^"]+\.js)"\)', text, re.MULTILINE
    ):
        target = name[0] or name[1]
        assert target.startswith("."), f"{target} is no path"
        assert (script.parent / target).is_file(), f"{target} is not there"
    assert not re.search(r"https?://", text), "a script names an address of another host"
    assert ".innerHTML" not in text


def test_pages_have_no_inline_scripts_or_styles() -> None:
    for name in ("index.html", "docs.html", "no_manual.html"):
        text = (FOLDER / name).read_text()
        assert not re.search(r"\sstyle=|<style|<script(?![^>]*\ssrc=)|\son\w+=", text), name
    assert "unsafe" not in POLICY["Content-Security-Policy"]


def test_libraries_are_kept_by_browsers_and_other_files_asked_for(base: str) -> None:
    with httpx.Client(base_url=f"{base}/page/") as client:
        library = client.get("vendor/preact-11.2.0.js")
        assert (library.status_code, library.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
        for name in ("page.js", "views/sweep.js", "page.css", "favicon.svg"):
            own = client.get(name)
            assert (own.status_code, own.headers["cache-control"]) == (200, "no-cache"), name
        assert client.get("favicon.svg").headers["content-type"].startswith("image/svg+xml")


@pytest.mark.parametrize(
    "name", ["__init__.py", "documents.d.ts", "tsconfig.json", "vendor/manifest.json", "../app.py", ""]
)
def test_other_files_of_the_folder_are_not_served(base: str, name: str) -> None:
    assert httpx.get(f"{base}/page/{name}").status_code in (401, 404)


def test_the_page_and_the_report_colour_values_alike() -> None:
    found = re.search(r"export const SCALE = (\[.*?\]);", (FOLDER / "colours.js").read_text())
    assert found is not None
    assert json.loads(found[1]) == list(drawing.SCALE)
    assert (
        to_hex(drawing.colour_map("maximize")(1.0)) == to_hex(drawing.colour_map("minimize")(0.0)) == drawing.SCALE[-1]
    )


def test_types_of_the_scripts_are_those_of_the_api() -> None:
    sys.path.insert(0, str(ROOT / "deploy"))
    try:
        import page_types
    finally:
        sys.path.pop(0)
    assert page_types.TARGET.read_text() == page_types.text(), "run make page-types"

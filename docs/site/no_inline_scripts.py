"""A hook of mkdocs: scripts that stand in a page become files, so that a policy without inline scripts allows them."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig

FOLDER = Path("assets", "inline")


def on_post_build(config: MkDocsConfig) -> None:
    """Write the inline scripts of every page to files named by their hashes, and load them from there.

    The page for addresses that do not exist is left out, since its links hold at the root of a server alone, and so are
    the maps to the sources of the theme's scripts and styles, since wheels have a copy of the site.
    """
    site = Path(config.site_dir)
    for unused in (site / "404.html", *site.rglob("*.map")):
        unused.unlink(missing_ok=True)
    (site / FOLDER).mkdir(parents=True, exist_ok=True)
    for page in site.rglob("*.html"):
        to_root = os.path.relpath(site, page.parent)

        def as_file(found: re.Match[str], to_root: str = to_root) -> str:
            name = f"{hashlib.sha256(found[1].encode()).hexdigest()[:16]}.js"
            (site / FOLDER / name).write_text(found[1])
            return f'<script src="{to_root}/{FOLDER.as_posix()}/{name}"></script>'

        page.write_text(re.sub(r"<script>(.*?)</script>", as_file, page.read_text(), flags=re.DOTALL))

"""The manual: the documentation as a site that mkdocs has built, for browsers without the internet.

A wheel has the site beside this module, and a clone in ``build/site``, where ``make docs`` puts it. It is looked for at
every request, so it can be built while the API runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from service.api.page import FOLDER, POLICY

PATH = "/manual"
_ROOT = Path(__file__).resolve().parents[2]
_IN_A_CLONE = [_ROOT / "build" / "site"] if (_ROOT / "mkdocs.yml").is_file() else []
FOLDERS = (Path(__file__).parent / "site", *_IN_A_CLONE)
"""Where the site may be; the first that has a file counts."""


class Manual(StaticFiles):
    """Serves the site; as long as there is none, a page that says how to build it.

    Args:
        folders: Where the site may be.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        super().__init__(directory=folders[0], html=True, check_dir=False)
        self.all_directories = list(folders)
        self.config_checked = True  # that the folder is there; it need not be

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file of the site with the policy of the pages.

        Raises:
            HTTPException: The site has no such file, or the method is not GET or HEAD.
        """
        try:
            answer = await super().get_response(path, scope)
        except HTTPException as error:
            if error.status_code != 404 or any((Path(f) / "index.html").is_file() for f in self.all_directories):
                raise
            answer = FileResponse(FOLDER / "no_manual.html", status_code=404)
        answer.headers.update(POLICY)
        return answer

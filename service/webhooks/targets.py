"""The file that names the webhooks. Only the operator writes it: no user of the API can make the service call a server.

::

    {"webhooks": [{"name": "chat", "url": "https://hooks.example.org/spectral", "secret_file": "chat.secret"}]}
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from pathlib import Path
from typing import Annotated, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from service.store.webhooks import SWEEP_ENDED, TRIAL_ENDED

NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
LEAST_SECRET, MOST_SECRET = 24, 64
"""The sizes in bytes that a secret may have, as the Standard Webhooks ask for."""
OTHERS = 0o077


class WrongWebhooks(ValueError):
    """The file of webhooks, or a secret that it names, cannot be used; the message says what to do."""


class WebhookTarget(BaseModel):
    """One webhook of the file: where messages go, and what they are signed with.

    Attributes:
        name: By which health and logs name it.
        url: The address that is called, ``https://`` unless it is private.
        secret_file: A file with one secret a line, ``whsec_`` and base64; each signs. A relative path is taken from the
            folder of the file of webhooks.
        events: What is told: ``sweep.ended``, ``trial.ended`` or both.
        private: Whether the address may be one of this machine or of a private network.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=NAME)
    url: str
    secret_file: Path
    events: tuple[Literal["sweep.ended", "trial.ended"], ...] = Field((SWEEP_ENDED, TRIAL_ENDED), min_length=1)
    private: bool = False

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, given: str) -> str:
        try:
            address = httpx.URL(given)
        except httpx.InvalidURL as error:
            raise ValueError(f"is no address: {error}") from None
        if address.scheme not in ("http", "https") or not address.host or address.userinfo or address.fragment:
            raise ValueError("is no address like https://HOST/PATH, without a password and without a fragment")
        return given

    @model_validator(mode="after")
    def _is_encrypted(self) -> WebhookTarget:
        if self.url.startswith("http://") and not self.private:
            raise ValueError("url begins with http://, so everybody on the way could read it; use https://")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    webhooks: Annotated[list[WebhookTarget], Field(max_length=100)]

    @field_validator("webhooks")
    @classmethod
    def _have_different_names(cls, given: list[WebhookTarget]) -> list[WebhookTarget]:
        names = [target.name for target in given]
        if len(set(names)) < len(names):
            raise ValueError("two webhooks have the same name")
        return given


def read_targets(path: Path) -> list[WebhookTarget]:
    """Read the file of webhooks; relative paths of secrets become absolute ones.

    Raises:
        WrongWebhooks: The file cannot be read, does not hold what it should, or others may write it; or a secret cannot
            be used.
    """
    text = _read(path, forbidden=0o022, what="write")
    try:
        found = _File.model_validate_json(text).webhooks
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise WrongWebhooks(f"{path}: {place}: {first['msg']}") from None
    folder = path.absolute().parent
    targets = [target.model_copy(update={"secret_file": folder / target.secret_file}) for target in found]
    for target in targets:
        secrets_of(target)
    return targets


def secrets_of(target: WebhookTarget) -> list[bytes]:
    """Return the secrets of a webhook, in the order of its file.

    Raises:
        WrongWebhooks: The file cannot be read, others can read it, or it holds no secrets of the right form.
    """
    path = target.secret_file
    lines = _read(path, forbidden=OTHERS, what="read").split()
    found = [_decoded(line) for line in lines]
    if not found or None in found:
        raise WrongWebhooks(
            f"{path}: the secret of webhook {target.name} must be whsec_ and base64 of {LEAST_SECRET} to {MOST_SECRET} "
            "random bytes, one a line; make one with: echo whsec_$(openssl rand -base64 32)"
        )
    return [secret for secret in found if secret is not None]


def _decoded(line: str) -> bytes | None:
    try:
        secret = base64.b64decode(re.sub("^whsec_", "", line), validate=True)
    except binascii.Error:
        return None
    varied = len(set(secret)) > LEAST_SECRET // 4  # a default such as aaaa... is no secret
    return secret if line.startswith("whsec_") and varied and LEAST_SECRET <= len(secret) <= MOST_SECRET else None


def _read(path: Path, forbidden: int, what: str) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & forbidden:
                raise WrongWebhooks(f"{path}: other users may {what} this file; run: chmod 600 {path}")
            return file.read(1_000_000).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongWebhooks(f"{path}: cannot be read ({error})") from None

"""What admits a request: a valid token or session, shown in the one right way."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from uvicorn.logging import AccessFormatter

from service.access.administration import revoke_token
from service.access.credentials import COOKIE
from service.access.token_text import FORM, SecretFilter, digest, new_token, without_secrets
from service.api import gate
from service.client import ApiError, RestClient
from service.store import tokens
from service.store.database import Database
from service.store.tables import PageSession, Token
from tests.service.access.conftest import NewToken
from tests.service.api.test_errors import problem
from tests.waiting import until

Call = Callable[..., httpx.Response]


def id_of(token: str) -> str:
    return token.split("_")[1]


def sign_in(call: Call, token: str, **headers: str) -> str:
    answer = call("POST", "/v1/session", json={"token": token}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.headers["set-cookie"]


def value_of(cookie: str) -> str:
    return cookie.partition(";")[0].partition("=")[2]


def test_tokens_have_a_form_that_scanners_find_and_256_random_bits() -> None:
    made = [new_token() for _ in range(50)]
    assert all(FORM.fullmatch(text) and text.split("_")[1] == token_id for token_id, text in made)
    assert len({text for _, text in made}) == 50
    assert 62**43 > 2**256


def test_only_the_digest_of_a_token_is_stored(database: Database, new_token: NewToken) -> None:
    token = new_token()
    with database.read() as session:
        (row,) = tokens.every(session)
    assert row.digest == digest(token)
    assert token.rpartition("_")[2] not in str(vars(row))


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer  {token}",
        "Bearer {token}x",
        "Bearer {token},{token}",
        "Bearer srs_0000000000_" + "0" * 43,
        "Bearer '{token}'",
        "Basic {token}",
        "Token {token}",
        "{token}",
        "Bearer {upper}",
        "Bearer " + "a" * 30_000,
        "\u00e9" * 40,
    ],
)
def test_what_is_not_a_known_token_is_refused(call: Call, new_token: NewToken, authorization: str) -> None:
    token = new_token()
    text = authorization.format(token=token, upper=token.upper())
    answer = call("GET", "/v1/sweeps", headers={"Authorization": text.encode("latin-1")})
    assert token not in answer.text
    assert problem(answer, 401)["title"] == "Not signed in"


def test_the_scheme_is_written_in_any_case(call: Call, new_token: NewToken) -> None:
    for scheme in ("bearer", "BEARER"):
        assert call("GET", "/v1/sweeps", headers={"Authorization": f"{scheme} {new_token()}"}).status_code == 200


def test_several_authorization_headers_are_refused(base_url: str, new_token: NewToken) -> None:
    token = new_token()
    same = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
    assert "2 Authorization headers" in problem(httpx.get(f"{base_url}/v1/sweeps", headers=same), 401)["detail"]


@pytest.mark.parametrize(
    "path", ["/v1/sweeps?token={}", "/v1/sweeps?access_token={}", "/v1/sweeps?x=a%20{}", "/{}", "/?t={}"]
)
def test_a_token_in_the_address_is_refused_even_beside_a_right_one(call: Call, new_token: NewToken, path: str) -> None:
    token = new_token()
    answer = call("GET", path.format(token), token)
    assert "revoke it" in problem(answer, 401)["detail"]
    assert token not in answer.text


def test_an_expired_and_a_revoked_token_are_refused_at_once(
    call: Call, database: Database, new_token: NewToken
) -> None:
    short, long = new_token(seconds=0.5), new_token(seconds=None)
    assert call("GET", "/v1/sweeps", long).status_code == 200
    until(lambda: call("GET", "/v1/sweeps", short).status_code != 200)
    assert "expired" in problem(call("GET", "/v1/sweeps", short), 401)["detail"]
    revoke_token(database, id_of(long))
    assert "revoked" in problem(call("GET", "/v1/sweeps", long), 401)["detail"]


def test_a_session_is_a_cookie_that_no_script_reads_and_no_other_site_sends(call: Call, new_token: NewToken) -> None:
    token = new_token()
    cookie = sign_in(call, token)
    name, *attributes = re.split("; ?", cookie.lower())
    assert name.startswith(f"{COOKIE}=")
    assert {"httponly", "samesite=strict", "path=/"} <= set(attributes)
    assert "secure" not in attributes
    assert token not in cookie
    who = call("GET", "/v1/tokens/self", headers={"Cookie": cookie}).json()
    assert (who["owner"], who["scope"], who["token_id"]) == ("ada", "submit", id_of(token))


def test_by_tls_the_cookie_is_secure_and_bound_to_the_host(call: Call, new_token: NewToken) -> None:
    cookie = sign_in(call, new_token(), **{"X-Forwarded-Proto": "https"})
    assert cookie.startswith(f"__Host-{COOKIE}=")
    assert "secure" in cookie.lower()
    https = {"X-Forwarded-Proto": "https", "Cookie": cookie}
    answer = call("GET", "/v1/tokens/self", headers=https)
    assert answer.status_code == 200
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert call("GET", "/v1/tokens/self", headers={"Cookie": cookie}).status_code == 401
    assert "strict-transport-security" not in call("GET", "/health/live").headers


def test_a_session_ends_with_its_token_at_sign_out_and_in_time(
    call: Call, database: Database, new_token: NewToken
) -> None:
    token, other = new_token(), new_token()
    first, second, third = sign_in(call, token), sign_in(call, token), sign_in(call, other)
    assert call("DELETE", "/v1/session", headers={"Cookie": first}).status_code == 204
    assert call("GET", "/v1/sweeps", headers={"Cookie": first}).status_code == 401
    assert call("GET", "/v1/sweeps", headers={"Cookie": second}).status_code == 200
    with database.write() as session:
        session.execute(
            update(PageSession).where(PageSession.digest == digest(value_of(second))).values(expires_at=1.0)
        )
    assert "expired" in problem(call("GET", "/v1/sweeps", headers={"Cookie": second}), 401)["detail"]
    revoke_token(database, id_of(other))
    assert call("GET", "/v1/sweeps", headers={"Cookie": third}).status_code == 401
    fourth = sign_in(call, token)
    with database.write() as session:
        assert tokens.count_sessions(session, id_of(token)) == 1, "the next sign-in removes those that have ended"
        session.execute(update(Token).where(Token.id == id_of(token)).values(expires_at=1.0))
    assert call("GET", "/v1/sweeps", headers={"Cookie": fourth}).status_code == 401


@pytest.mark.parametrize("body", [{}, {"token": 1}, {"token": "x", "more": 1}, [], "srs"])
def test_sign_in_takes_one_field(call: Call, body: Any) -> None:
    problem(call("POST", "/v1/session", json=body), 422)


def test_sign_in_with_a_wrong_token_sets_no_cookie(call: Call) -> None:
    answer = call("POST", "/v1/session", json={"token": "srs_0000000000_" + "0" * 43})
    problem(answer, 401)
    assert "set-cookie" not in answer.headers


def test_a_session_changes_something_only_from_the_page_itself(
    call: Call, base_url: str, new_token: NewToken, document: dict[str, Any]
) -> None:
    cookie = sign_in(call, new_token())
    for sent in ({}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://localhost:9"}):
        problem(call("POST", "/v1/sweeps", json=document, headers={"Cookie": cookie, **sent}), 403)
    assert call("GET", "/v1/sweeps", headers={"Cookie": cookie}).json()["sweeps"] == []
    for sent in ({"Origin": base_url}, {"Sec-Fetch-Site": "same-origin"}):
        assert call("POST", "/v1/sweeps", json=document, headers={"Cookie": cookie, **sent}).status_code == 202


def test_two_cookies_of_the_name_admit_nobody(call: Call, new_token: NewToken) -> None:
    cookie = sign_in(call, new_token()).partition(";")[0]
    for both in (f"{cookie}; {COOKIE}=another", f"{COOKIE}=another; {cookie}", f"{cookie}; {cookie}"):
        assert call("GET", "/v1/sweeps", headers={"Cookie": both}).status_code == 401
    assert call("GET", "/v1/sweeps", headers={"Cookie": f"theme=dark; {cookie}"}).status_code == 200


def test_a_wrong_token_is_not_made_up_for_by_a_session(call: Call, new_token: NewToken) -> None:
    cookie = sign_in(call, new_token())
    assert call("GET", "/v1/sweeps", "srs_wrong", headers={"Cookie": cookie}).status_code == 401


def test_an_event_stream_ends_when_its_token_is_revoked(
    base_url: str,
    call: Call,
    database: Database,
    new_token: NewToken,
    document: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "RECHECK_SECONDS", 0.0)
    monkeypatch.setattr("service.api.events.KEEPALIVE_SECONDS", 0.0)
    token = new_token()
    with RestClient(base_url, token=token) as client:
        stream = client.events(client.submit(document)["id"])
        assert next(stream)["kind"] == "sweep.queued"
        revoke_token(database, id_of(token))
        with pytest.raises(ApiError, match="revoked") as refused:
            next(stream)
        assert refused.value.status == 401


def test_secrets_are_taken_out_of_texts() -> None:
    _, token = new_token()
    assert without_secrets(f"GET /x?a={token}&b=1") == f"GET /x?a=srs_{id_of(token)}_...&b=1"
    encoded = "".join(f"%{ord(letter):02X}" for letter in token)
    assert without_secrets(f"GET /x?a={encoded}%0A&b=1") == f"GET /x?a=srs_{id_of(token)}_...%0A&b=1"
    assert without_secrets(f"GET /x?a={token.replace('_', '%5f')}") == f"GET /x?a=srs_{id_of(token)}_..."
    assert without_secrets("GET /x?a=100%25%0A") == "GET /x?a=100%25%0A"


def test_the_log_of_the_web_server_shows_an_address_without_its_secret() -> None:
    _, token = new_token()
    record = logging.LogRecord(
        *("uvicorn.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d'),
        ("127.0.0.1:5", "GET", f"/x?token={token}", "1.1", 401),
        None,
    )
    assert SecretFilter().filter(record)
    shown = AccessFormatter("%(client_addr)s %(request_line)s %(status_code)s", use_colors=False).format(record)
    assert shown == f"127.0.0.1:5 GET /x?token=srs_{id_of(token)}_... HTTP/1.1 401 Unauthorized"

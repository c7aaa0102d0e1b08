"""Outages, nonsense and slowness; and the request log."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.testing.app import CALENDAR, params_of


@pytest.fixture
def tokens(google, alice):
    return google.grant(alice, [CALENDAR])


def test_fail_next(app, tokens):
    """The next requests fail, and the one after them works."""
    app.google.fail_next(2)

    answers = [app.refresh(tokens.refresh_token).status_code for _ in range(3)]

    assert answers == [503, 503, 200]


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("body", "content"),
    [
        ("text ä", "text ä".encode()),
        (b"\xff\x00", b"\xff\x00"),
        ({"a": 1}, b'{"a": 1}'),
        ([1], b"[1]"),
        (None, b"null"),
        (1.5, b"1.5"),
        (False, b"false"),
        ('"a string"', b'"a string"'),
        ("", b""),
    ],
)
def test_fail_next_with_a_body(app, body, content):
    """The body goes out as it is, or as JSON, under any status and type."""
    app.google.fail_next(
        status=200, body=body, content_type="text/html", headers={"Retry-After": "7"}
    )

    response = app.refresh("1//unknown")

    assert response.status_code == 200
    assert response.content == content
    assert response.headers["Content-Type"] == "text/html"
    assert response.headers["Retry-After"] == "7"


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("authorize", "/o/oauth2/v2/auth"),
        ("revoke", "/revoke"),
        ("certs", "/oauth2/v3/certs"),
        ("userinfo", "/v1/userinfo"),
        ("/calendar/v3/lists", "/calendar/v3/lists"),
    ],
)
def test_fail_next_elsewhere(app, endpoint, path):
    """Each endpoint fails by itself, by name or by path."""
    app.google.fail_next(endpoint=endpoint, status=500)

    other = app.http.get(f"{app.google.url}/.well-known/openid-configuration")
    response = app.http.get(app.google.url + path)

    assert (other.status_code, response.status_code) == (200, 500)


def test_unknown_endpoint(google):
    """A misspelt endpoint is an error, not a fault that never happens."""
    with pytest.raises(ValueError, match="Unknown endpoint 'tokens'"):
        google.fail_next(endpoint="tokens")
    with pytest.raises(ValueError, match="Unknown endpoint 'tokens'"):
        google.requests_to("tokens")


def test_faults_queue(app, tokens):
    """Several calls queue up."""
    app.google.fail_next(status=500)
    app.google.error_next("invalid_grant")

    answers = [app.refresh(tokens.refresh_token).status_code for _ in range(3)]

    assert answers == [500, 400, 200]


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("arguments", "status", "body"),
    [
        ({}, 400, {"error": "invalid_grant"}),
        (
            {"description": "Reauth", "subtype": "invalid_rapt", "status": 403},
            403,
            {
                "error": "invalid_grant",
                "error_description": "Reauth",
                "error_subtype": "invalid_rapt",
            },
        ),
    ],
)
def test_error_next(app, tokens, arguments, status, body):
    """A token error in Google's shape, once, with what is given and nothing else."""
    app.google.error_next("invalid_grant", **arguments)

    response = app.refresh(tokens.refresh_token)

    assert (response.status_code, response.json()) == (status, body)
    assert app.refresh(tokens.refresh_token).status_code == 200


def test_error_next_several_times(app, tokens):
    """A token error may come several times."""
    app.google.error_next("internal_failure", count=2)

    answers = [app.refresh(tokens.refresh_token).status_code for _ in range(3)]

    assert answers == [400, 400, 200]


def test_drop(app, tokens):
    """A dropped connection is closed without an answer, at once."""
    app.google.fail_next(drop=True)

    began = time.monotonic()
    with pytest.raises(requests.ConnectionError, match=r"without response|reset"):
        app.refresh(tokens.refresh_token)

    assert time.monotonic() - began < 2
    assert app.refresh(tokens.refresh_token).status_code == 200


def test_drop_in_the_body(app, tokens):
    """A connection may break in the middle of the answer."""
    app.google.fail_next(drop=True, status=200, body={"access_token": "ya29.never"})

    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        app.refresh(tokens.refresh_token)


def test_lost_answer(app, tokens):
    """What was asked is done, and nobody hears of it: a replaced refresh token is gone."""
    app.google.rotates_refresh_tokens = True
    app.google.fail_next(drop=True, takes_effect=True)

    with pytest.raises(requests.ConnectionError):
        app.refresh(tokens.refresh_token)

    assert app.refresh(tokens.refresh_token).json()["error"] == "invalid_grant"


def test_lost_revocation(app, alice, tokens):
    """The grant has ended, and the answer says that it has not."""
    app.google.fail_next(endpoint="revoke", status=503, takes_effect=True)

    answers = [app.revoke(tokens.refresh_token).status_code for _ in range(2)]

    assert answers == [503, 400]
    assert app.google.granted_scopes(alice) is None


def test_failure_takes_no_effect(app, tokens):
    """Unless told to."""
    app.google.rotates_refresh_tokens = True
    app.google.fail_next(status=500)

    answers = [app.refresh(tokens.refresh_token).status_code for _ in range(2)]

    assert answers == [500, 200]


@pytest.mark.matrix
@pytest.mark.parametrize("error", ["invalid_request", "server_error", "anything <b>at all"])
def test_fail_next_authorization(app, alice, error):
    """The browser comes back with the error and the state, once, and nothing is granted."""
    app.google.fail_next_authorization(error)

    first = app.open()
    second = app.open()

    assert first.status_code == 302
    assert params_of(first.headers["Location"]) == {"state": "a state", "error": error}
    assert second.status_code == 200
    assert app.google.granted_scopes(alice) is None


def test_fail_next_authorization_with_a_description(app, alice):
    """It may be of any length, and comes with the issuer where that is sent."""
    description = "<script>" + "ä" * 5000
    app.google.sends_iss = True
    app.google.fail_next_authorization("server_error", description=description, count=2)
    app.google.fail_next_authorization("temporarily_unavailable")

    came = [params_of(app.google.consent(app.authorization_url())) for _ in range(4)]

    expected = {"state": "a state", "iss": app.google.url, "error": "server_error"}
    assert came[0] == came[1] == {**expected, "error_description": description}
    assert came[2] == {**expected, "error": "temporarily_unavailable"}
    assert "code" in came[3]


def test_fail_next_authorization_waits_for_a_good_request(app, alice):
    """Nothing is sent to an address that is not registered."""
    app.google.fail_next_authorization("server_error")

    statuses = [app.open(redirect_uri="http://evil.example/").status_code, app.open().status_code]

    assert statuses == [400, 302]


@pytest.mark.matrix
@pytest.mark.parametrize("value", [None, True, 7, 1.5, "", "x", [], ["x"], {}, {"a": {}}])
@pytest.mark.parametrize(
    "field", ["access_token", "expires_in", "scope", "token_type", "refresh_token", "id_token"]
)
def test_tamper_next_response(app, tokens, field, value):
    """Any field has any JSON value, and all the others are as they should be; once."""
    app.google.tamper_next_response(fields={field: value})

    first = app.refresh(tokens.refresh_token).json()
    second = app.refresh(tokens.refresh_token).json()

    assert first[field] == value
    assert type(first[field]) is type(value)
    rest = {"access_token", "expires_in", "scope", "token_type"} - {field}
    assert {name: first[name] for name in rest - {"access_token"}} == {
        name: second[name] for name in rest - {"access_token"}
    }
    assert set(second) == {"access_token", "expires_in", "scope", "token_type"}


def test_tamper_next_response_removes(app, alice):
    """A field may be missing, and failures use nothing up."""
    app.google.tamper_next_response(remove=["expires_in", "scope"])
    app.google.tamper_next_response(remove=["token_type"])
    app.google.fail_next()

    failed = app.refresh("1//unknown").status_code
    refused = app.refresh("1//unknown").status_code
    first = app.link()
    second = app.refresh(first["refresh_token"]).json()

    assert (failed, refused) == (503, 400)
    assert set(first) == {"access_token", "token_type", "refresh_token"}
    assert set(second) == {"access_token", "expires_in", "scope"}


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("endpoint", "path", "field"),
    [
        ("certs", "/oauth2/v3/certs", "keys"),
        ("discovery", "/.well-known/openid-configuration", "issuer"),
        ("userinfo", "/v1/userinfo", "sub"),
        ("/calendar", "/calendar", "items"),
    ],
)
def test_tamper_next_response_elsewhere(app, alice, endpoint, path, field):
    """Of any endpoint that answers with a JSON object; its headers stay."""
    app.google.answer("/calendar", {"items": []})
    access_token = app.google.grant(alice, ["openid"]).access_token
    genuine = app.call(path, access_token)
    app.google.tamper_next_response(endpoint, fields={field: 42})

    elsewhere = app.link()
    tampered = app.call(path, access_token)

    assert "access_token" in elsewhere
    assert tampered.json() == genuine.json() | {field: 42}
    assert tampered.headers["Cache-Control"] == genuine.headers["Cache-Control"]
    assert app.call(path, access_token).json() == genuine.json()


def test_tamper_next_response_of_no_object(app, alice):
    """A list has no fields, nor has a page: they go out as they are. Misspelt names are errors."""
    app.google.answer("/calendar", [1])
    access_token = app.google.grant(alice, ["openid"]).access_token
    app.google.tamper_next_response("/calendar", fields={"a": 1})
    app.google.tamper_next_response("authorize", fields={"a": 1})

    assert app.call("/calendar", access_token).json() == [1]
    assert "Allow" in app.open().text
    with pytest.raises(ValueError, match="Unknown endpoint 'tokens'"):
        app.google.tamper_next_response("tokens")


def test_slow_answer(app, tokens):
    """A fault may take its time."""
    app.google.fail_next(delay=0.2)

    with pytest.raises(requests.ReadTimeout):
        app.http.post(f"{app.google.url}/token", timeout=0.05)

    assert app.refresh(tokens.refresh_token).status_code == 200


@pytest.mark.slow
def test_delay(app, tokens):
    """Each token request takes longer by the delay; other requests do not."""
    app.google.delay = 1

    began = time.monotonic()
    app.http.get(f"{app.google.url}/oauth2/v3/certs")
    in_between = time.monotonic()
    app.refresh(tokens.refresh_token)

    assert in_between - began < 1 <= time.monotonic() - in_between


@pytest.mark.slow
def test_delays_overlap(app, tokens):
    """Nobody waits for another one's delay."""
    app.google.delay = 0.2

    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(app.refresh, [tokens.refresh_token] * 16))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["access_token"] for answer in answers}) == 16
    assert time.monotonic() - began < 2


def test_requests(app, tokens, clock):
    """Each request is recorded, whether it failed or not."""
    app.google.now = clock
    app.google.fail_next()

    app.refresh("1//a-refresh-token")
    app.http.get(f"{app.google.url}/nothing%20here?a=1&a=2&b=", headers={"X-Test": "yes"})

    first, second = app.google.requests
    assert (first.method, first.path, first.query) == ("POST", "/token", {})
    assert first.form["refresh_token"] == "1//a-refresh-token"
    assert (second.method, second.path) == ("GET", "/nothing here")
    assert second.query == {"a": "1", "b": ""}
    assert (second.form, second.headers["x-test"], second.at) == ({}, "yes", clock.time)


def test_requests_to(app, tokens):
    """Requests are found by the names of endpoints, or by path."""
    app.refresh(tokens.refresh_token)
    app.call("/calendar", tokens.access_token)
    app.refresh(tokens.refresh_token)

    paths = [request.path for request in app.google.requests_to("token")]
    assert paths == ["/token", "/token"]
    assert len(app.google.requests_to("/calendar")) == 1
    assert app.google.requests_to("revoke") == []


def test_requests_is_a_snapshot(app, tokens):
    """A list that was taken does not grow, and clearing leaves it alone."""
    app.refresh(tokens.refresh_token)
    before = app.google.requests

    app.refresh(tokens.refresh_token)
    after = app.google.requests
    app.google.clear_requests()

    assert (len(before), len(after), app.google.requests) == (1, 2, [])


def test_failing_lasts_as_long_as_the_block(app, tokens):
    """However many requests there are."""
    with app.google.failing(status=500):
        assert [app.refresh(tokens.refresh_token).status_code for _ in range(3)] == [500] * 3

    assert app.refresh(tokens.refresh_token).status_code == 200


def test_failing_is_left_when_a_test_fails(app, tokens):
    """The next one finds a Google that works."""
    with pytest.raises(ZeroDivisionError), app.google.failing():
        _ = 1 / 0

    assert app.refresh(tokens.refresh_token).status_code == 200


def test_failing_for_one_user(app, tokens, alice):
    """Whatever speaks for that user fails; nobody else's does."""
    google = app.google
    other = google.grant(google.add_user("bob@gmail.com"), [CALENDAR])
    google.answer("/calendar", {})

    with (
        google.failing(user=alice, status=429),
        google.failing(user=alice, endpoint="/calendar", status=418),
        google.failing(user=alice, endpoint="revoke", status=502),
    ):
        assert app.refresh(tokens.refresh_token).status_code == 429
        assert app.refresh(other.refresh_token).status_code == 200
        assert app.refresh("1//unknown").status_code == 400
        assert app.call("/calendar", tokens.access_token).status_code == 418
        assert app.call("/calendar", other.access_token).status_code == 200
        assert app.http.get(f"{google.url}/calendar").status_code == 401
        assert app.revoke(tokens.refresh_token).status_code == 502

    assert app.refresh(tokens.refresh_token).status_code == 200


def test_failing_knows_a_user_by_the_code(app, alice):
    """The exchange fails too."""
    code = app.google.consent(app.authorization_url(), user=alice)
    with app.google.failing(user=alice, status=504):
        assert app.exchange(code).status_code == 504

    assert app.exchange(code).status_code == 200


def test_failing_within_failing(app, tokens):
    """What is queued up comes first, then the inner block."""
    app.google.fail_next(status=501)
    with app.google.failing(status=502), app.google.failing(status=504):
        answers = [app.refresh(tokens.refresh_token).status_code for _ in range(2)]

    assert answers == [501, 504]


def test_failing_knows_its_endpoints(app):
    """As fail_next does."""
    with pytest.raises(ValueError, match="Unknown endpoint"), app.google.failing(endpoint="tokens"):
        raise NotImplementedError

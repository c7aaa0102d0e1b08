"""The contract is the same at each mount, and each mount asks its own framework who the user is."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from pytest_django import Settings
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.throttling import UserRateThrottle
from rest_framework.versioning import URLPathVersioning
from rest_framework_simplejwt.authentication import JWTAuthentication

from django_google_link.contrib.rest_framework.views import FrontEndView
from django_google_link.headless import FrontEndError, read_openapi
from django_google_link.headless.bodies import parse_object
from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser, make_google_account
from tests.support.constants import CALENDAR
from tests.support.front_ends import FrontEnd, refusal

pytestmark = pytest.mark.django_db

ENDPOINTS = [
    ("GET", "accounts/"),
    ("PATCH", "accounts/0d9c0e6e-7f8e-4b7a-9d0a-0c4f2f1f6c1e/"),
    ("DELETE", "accounts/0d9c0e6e-7f8e-4b7a-9d0a-0c4f2f1f6c1e/"),
    ("POST", "links/"),
    ("POST", "links/complete/"),
]
WITH_BODY = [endpoint for endpoint in ENDPOINTS if endpoint[0] in {"PATCH", "POST"}]


@pytest.mark.slow
def test_link_and_unlink(mounted: FrontEnd, google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """All that a front end does with an account, from the first to the last."""
    started = mounted.start()
    back = google.consent(started["authorization_url"], user=alice)
    linked = mounted.complete(started["ticket"], back)
    assert linked.status_code == 200, linked.content
    account = linked.json()["account"]
    assert mounted.send("GET", "accounts/").json() == {"accounts": [account]}

    changed = mounted.send(
        "PATCH", f"accounts/{account['id']}/", {"label": " Work\n", "is_default": True}
    )
    assert changed.status_code == 200, changed.content
    assert changed.json() == {**account, "label": "Work"}
    assert GoogleAccount.objects.get().is_chosen_default

    gone = mounted.send("DELETE", f"accounts/{account['id']}/")
    assert (gone.status_code, gone.content) == (204, b"")
    assert "no-store" in gone["Cache-Control"]
    assert mounted.send("GET", "accounts/").json() == {"accounts": []}


@pytest.mark.matrix
@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_nobody(mounted: FrontEnd, other_user: Any, method: str, path: str) -> None:
    """Who is nobody, or has a token of nobody's, is told so in JSON, and so is a session alone."""
    nobody = FrontEnd(Client(), api=mounted.api)
    assert refusal(nobody.send(method, path, {})) == (401, "login_required")
    if mounted.api != "/google/api/":
        for session in (Client(), mounted.client):
            session.force_login(other_user)
            wrong = FrontEnd(session, api=mounted.api)
            assert refusal(wrong.send(method, path, {})) == (401, "login_required")
            wrong.headers["authorization"] = "Bearer token-nobody"
            assert refusal(wrong.send(method, path, {})) == (401, "login_required")


CONTENT_TYPES = [
    "",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/jsonp",
    "application/json-patch+json",
    "application/json,text/plain",
    "\xff",
]


@pytest.mark.matrix
@pytest.mark.parametrize(("method", "path"), WITH_BODY)
def test_nothing_but_json(mounted: FrontEnd, method: str, path: str) -> None:
    """What a form of another site can send is refused."""
    for content_type in CONTENT_TYPES:
        response = mounted.client.generic(
            method, f"{mounted.api}{path}", b"{}", content_type, headers=mounted.headers
        )
        assert refusal(response) == (415, "unsupported_media_type"), content_type


BODIES = {
    "empty": (b"", 400),
    "nothing but space": (b" \n", 400),
    "half": (b'{"ticket": "', 400),
    "list": (b"[]", 400),
    "text": (b'"{}"', 400),
    "null": (b"null", 400),
    "number": (b"1", 400),
    "NaN": (b'{"ticket": NaN}', 400),
    "infinity": (b'{"ticket": -Infinity}', 400),
    "huge number": (b'{"ticket": ' + b"9" * 5000 + b"}", 400),
    "huge exponent": (b'{"ticket": 1e999999}', 400),
    "bad UTF-8": (b'{"ticket": "\xff\xfe"}', 400),
    "UTF-16": ('{"ticket": "x"}'.encode("utf-16"), 400),
    "byte order mark": (b"\xef\xbb\xbf{}", 400),
    "surrogate": (b'{"ticket": "\\ud800"}', 400),
    "NUL": (b'{"ticket": "a\\u0000b"}', 400),
    "deep": (b'{"ticket": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", 400),
    "deep objects": (b'{"ticket":' * 5_000 + b"1" + b"}" * 5_000, 400),
    "twice": (b'{"ticket": "a", "ticket": "b"}', 400),
    "twice inside": (b'{"ticket": {"a": 1, "a": 2}}', 400),
    "64 KB and more": (b'{"ticket": "' + b"a" * 65_536 + b'"}', 413),
    "10 MB": (b" " * 10_000_000, 413),
    "two objects": (b"{} {}", 400),
    "comment": (b"{} // nothing", 400),
}


#: What is JSON, and no member that there could be.
WELL_FORMED = {"huge exponent", "surrogate", "NUL"}


@pytest.mark.matrix
@pytest.mark.parametrize(("method", "path"), WITH_BODY)
def test_bodies(mounted: FrontEnd, user: Any, method: str, path: str) -> None:
    """Whatever is sent, it is a clear refusal."""
    if method == "PATCH":
        path = f"accounts/{make_google_account(user).pk}/"
    for name, (content, expected) in BODIES.items():
        response = mounted.client.generic(
            method,
            f"{mounted.api}{path}",
            content,
            headers=mounted.headers,
            CONTENT_TYPE="application/json",  # Sent with an empty body, too.
        )
        status, word = refusal(response)
        assert status == expected, name
        if status == 400:
            # Some Pythons read objects that others find too deep.
            words = {"invalid_request"} if name in WELL_FORMED else {"invalid_json"}
            if name == "deep objects":
                words |= {"invalid_request"}
            assert word in words, name


VALUES: dict[str, Any] = {
    "list": ["x"],
    "object": {"a": "b"},
    "number": 1,
    "float": 1.5,
    "true": True,
    "text": "x",
    "empty": "",
    "long": "x" * 50_000,
    "emoji": "\N{ROCKET}",
    "surrogate": "\ud83d",
    "NUL": "a\0b",
    "lines": "a\r\nb",
    "path": "../../etc/passwd",
    "escapes": "\x1b[31m\u202e",
}
MEMBERS = {
    "links/": [
        "link_request",
        "account",
        "add",
        "mode",
        "redirect_uri",
        "origin",
        "scopes",
        "__proto__",
    ],
    "links/complete/": ["ticket", "code", "state", "iss", "error", "redirect_uri"],
    "accounts/": ["label", "is_default", "email", "client", "user_id"],
}


LABELS = {"text", "empty", "emoji", "surrogate", "NUL", "lines", "path", "escapes"}
#: What may be sent as well as not at all, and what is right.
AS_IF_NOT_SENT = {(name, "empty") for name in ("link_request", "account", "mode")}
FINE = {("add", "true"), ("is_default", "true"), *(("label", kind) for kind in LABELS)}


@pytest.mark.matrix
@pytest.mark.parametrize("path", MEMBERS)
def test_members(mounted: FrontEnd, user: Any, path: str) -> None:
    """A member of the wrong kind is refused; nothing comes of it."""
    account = make_google_account(user, scopes=[CALENDAR], sub="7", email="a@gmail.com")
    method = "PATCH" if path == "accounts/" else "POST"
    url = f"accounts/{account.pk}/" if path == "accounts/" else path
    more = {"code": "x", "ticket": "x"} if path == "links/complete/" else {}
    for name, (kind, value) in product(MEMBERS[path], VALUES.items()):
        response = mounted.send(method, url, {**more, name: value})
        if (name, kind) in FINE:
            assert response.status_code == 200, (name, kind)
            continue
        status, word = refusal(response)
        if (name, kind) in AS_IF_NOT_SENT:
            assert (status, word) == (409, "already_linked")
        else:
            assert status in {400, 404, 409}, (name, kind)
            assert status != 409 or value == "", (name, kind)


IDS = [
    "x",
    "0",
    "%00",
    "%F0%9F%9A%80",
    "a" * 2000,
    "%ED%A0%80",
    "0d9c0e6e-7f8e-4b7a-9d0a-0c4f2f1f6c1e",
]


def test_account_that_is_not_there(mounted: FrontEnd, other_user: Any) -> None:
    """Nor is anybody else's."""
    theirs = make_google_account(other_user)
    for id in [*IDS, str(theirs.pk)]:
        for method in ("PATCH", "DELETE"):
            response = mounted.send(method, f"accounts/{id}/", {"label": "x"})
            assert refusal(response) == (404, "account_not_found")
    assert GoogleAccount.objects.get().label == ""


@pytest.mark.matrix
@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_other_methods(mounted: FrontEnd, method: str, path: str) -> None:
    """What an address has not is refused, with what it has."""
    for other in ("PUT", "TRACE", "BREW"):
        response = mounted.send(other, path, {})
        assert refusal(response) == (405, "method_not_allowed")
        assert method in response["Allow"]


def test_site_that_takes_less(mounted: FrontEnd, settings: Settings) -> None:
    """Its own limit holds, and is told in the one shape."""
    if mounted.api == "/drf/google/":
        pytest.skip("Django REST framework reads no more than is taken here.")
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10

    response = mounted.send("POST", "links/", {"mode": "redirect"})

    assert refusal(response) == (413, "body_too_large")


class _Broken:
    """A connection that ends in the middle of a body."""

    def read(self, size: int = -1) -> bytes:
        """Fail."""
        raise OSError("gone")

    readline = read


def test_body_that_does_not_arrive(mounted: FrontEnd) -> None:
    """Whoever is still there is told."""
    response = mounted.send("POST", "links/", {"mode": "redirect"}, **{"wsgi.input": _Broken()})

    assert refusal(response) == (400, "invalid_json")


def test_body_without_a_length() -> None:
    """It is measured when it is there."""
    with pytest.raises(FrontEndError) as refused:
        parse_object(b" " * 70_000)

    assert refused.value.status == 413


def test_default_is_chosen_and_not_unchosen(mounted: FrontEnd, user: Any) -> None:
    """Another one is made the default instead."""
    account = make_google_account(user)

    response = mounted.send("PATCH", f"accounts/{account.pk}/", {"is_default": False})

    assert refusal(response) == (400, "invalid_request")
    assert GoogleAccount.objects.get().is_default


def test_mistakes_of_operators_are_no_refusals(
    mounted: FrontEnd, configure: Callable[..., None]
) -> None:
    """They reach the log and the site's error reports, at each mount."""
    configure(CLIENT_ID="", CLIENT_SECRET="")
    mounted.client.raise_request_exception = False

    response = mounted.client.post(
        f"{mounted.api}links/", "{}", "application/json", headers=mounted.headers
    )

    assert response.status_code == 500


def test_views_step_out_of_transactions(
    mounted: FrontEnd, google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """Under ``ATOMIC_REQUESTS`` a ticket stays spent, though the exchange fails."""
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        started = mounted.start()
        back = google.consent(started["authorization_url"], user=alice)
        google.error_next("invalid_grant")
        assert refusal(mounted.complete(started["ticket"], back)) == (400, "google_refused")
        assert refusal(mounted.complete(started["ticket"], back)) == (409, "ticket_used")
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False


def test_csrf_with_sessions(allow_front_end: None, user: Any) -> None:
    """Another site's page has no token of ours; ours has one in its cookie."""
    client = Client(enforce_csrf_checks=True)
    # Who is nobody is told that first: they have no cookie, either.
    assert refusal(FrontEnd(client).send("POST", "links/", {})) == (401, "login_required")
    client.force_login(user)
    ours = FrontEnd(client)
    assert refusal(ours.send("POST", "links/", {})) == (403, "csrf_failed")
    client.cookies["csrftoken"] = "a" * 32

    response = FrontEnd(client, **{"x-csrftoken": "a" * 32}).send("POST", "links/", {})

    assert response.status_code == 200


@pytest.mark.parametrize("api", ["/google/api/", "/session/google/"])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://testserver.evil.example"]
)
def test_page_of_another_origin_that_has_the_token(
    allow_front_end: None, api_site: None, user: Any, api: str, origin: str
) -> None:
    """What browsers say of where a request comes from counts as well."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    client.cookies["csrftoken"] = "a" * 32
    headers = {"x-csrftoken": "a" * 32}

    theirs = FrontEnd(client, api=api, **headers, origin=origin)
    assert refusal(theirs.send("POST", "links/", {})) == (403, "csrf_failed")
    ours = FrontEnd(client, api=api, **headers, origin="http://testserver")
    assert ours.send("POST", "links/", {}).status_code == 200


def test_csrf_with_sessions_of_rest_framework(
    allow_front_end: None, api_site: None, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site that has chosen sessions there has their protection as well."""
    monkeypatch.setattr(FrontEndView, "authentication_classes", [SessionAuthentication])
    client = Client(enforce_csrf_checks=True)
    assert refusal(FrontEnd(client, api="/drf/google/").send("GET", "accounts/")) == (
        401,
        "login_required",
    )
    client.force_login(user)
    ours = FrontEnd(client, api="/drf/google/")

    assert ours.send("GET", "accounts/").status_code == 200
    assert refusal(ours.send("POST", "links/", {})) == (403, "csrf_failed")


def test_session_in_ninja(allow_front_end: None, api_site: None, user: Any) -> None:
    """It counts where the site's ``auth`` says so, with its protection."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    ours = FrontEnd(client, api="/session/google/")

    assert ours.send("GET", "accounts/").status_code == 200
    assert refusal(ours.send("POST", "links/", {})) == (403, "csrf_failed")
    nobody = FrontEnd(Client(), api="/session/google/")
    assert refusal(nobody.send("GET", "accounts/")) == (401, "login_required")


def test_ninja_without_authentication(
    allow_front_end: None, api_site: None, browser: Client
) -> None:
    """A Django session that the API has not asked for is nobody's."""
    ours = FrontEnd(browser, api="/open/google/")

    assert refusal(ours.send("GET", "accounts/")) == (401, "login_required")


def test_ninja_whose_authentication_returns_no_user(
    allow_front_end: None, api_site: None, browser: Client
) -> None:
    """The router has to be told how to find the user: the session's is not the token's."""
    headers = {"authorization": "Bearer token-anna"}

    bare = FrontEnd(browser, api="/bare-key/google/", **headers)
    assert refusal(bare.send("GET", "accounts/")) == (401, "login_required")
    told = FrontEnd(browser, api="/key/google/", **headers)
    assert told.send("GET", "accounts/").json() == {"accounts": []}


def test_site_that_requires_a_login_everywhere(mounted: FrontEnd, settings: Settings) -> None:
    """``LoginRequiredMiddleware`` sends nobody to a page that no program can show."""
    login_required = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, login_required]
    nobody = FrontEnd(Client(), api=mounted.api)

    assert refusal(nobody.send("GET", "accounts/")) == (401, "login_required")
    assert mounted.send("GET", "accounts/").status_code == 200


class Verified(BasePermission):
    """A rule of the site's, for all its views."""

    def has_permission(self, request: Any, view: Any) -> bool:
        """Let those pass who are verified."""
        return request.user.username == "ben"


def test_permissions_of_the_site(
    allow_front_end: None, api_site: None, user: Any, other_user: Any, settings: Settings
) -> None:
    """Who may do nothing else there links nothing, either; who is nobody is told so first."""
    settings.REST_FRAMEWORK = {"DEFAULT_PERMISSION_CLASSES": [f"{__name__}.Verified"]}
    anna = FrontEnd(Client(), api="/drf/google/", authorization="Bearer token-anna")
    ben = FrontEnd(Client(), api="/drf/google/", authorization="Bearer token-ben")

    for method, path in ENDPOINTS:
        assert refusal(anna.send(method, path, {})) == (403, "permission_denied")
        nobody = FrontEnd(Client(), api="/drf/google/")
        assert refusal(nobody.send(method, path, {})) == (401, "login_required")
    assert ben.send("GET", "accounts/").status_code == 200
    assert anna.client.get("/drf/google/openapi.json").status_code == 200


def test_permissions_for_models(
    allow_front_end: None, api_site: None, user: Any, settings: Settings
) -> None:
    """What a site asks for its models' views does not concern these, which have none."""
    permission = "rest_framework.permissions.DjangoModelPermissions"
    settings.REST_FRAMEWORK = {"DEFAULT_PERMISSION_CLASSES": [permission]}
    ours = FrontEnd(Client(), api="/drf/google/", authorization="Bearer token-anna")

    assert ours.send("POST", "links/", {}).status_code == 200


def test_throttling_of_the_site(
    allow_front_end: None, api_site: None, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own limits hold, and are told in the one shape."""

    class OnceADay(UserRateThrottle):
        rate = "0/day"

        def allow_request(self, request: Any, view: Any) -> bool:
            return False

        def wait(self) -> float:
            return 60

    monkeypatch.setattr(FrontEndView, "throttle_classes", [OnceADay])
    ours = FrontEnd(Client(), api="/drf/google/", authorization="Bearer token-anna")

    response = ours.send("GET", "accounts/")

    assert refusal(response) == (429, "throttled")
    assert response["Retry-After"] == "60"


def test_version_in_the_path(
    allow_front_end: None,
    api_site: None,
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The site's own versioning may be one that its paths show."""
    monkeypatch.setattr(FrontEndView, "versioning_class", URLPathVersioning)
    ours = FrontEnd(Client(), api="/drf/v1/google/", authorization="Bearer token-anna")

    started = ours.start()
    back = google.consent(started["authorization_url"], user=alice)
    account = ours.complete(started["ticket"], back).json()["account"]

    path = f"accounts/{account['id']}/"
    assert ours.send("PATCH", path, {"label": "Work"}).json()["label"] == "Work"
    assert len(ours.send("GET", "accounts/").json()["accounts"]) == 1
    assert ours.send("DELETE", path).status_code == 204
    assert ours.client.get(f"{ours.api}openapi.json").status_code == 200


def test_token_that_another_package_refuses(
    allow_front_end: None, api_site: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error has a word of its own; the contract's stays as it is."""
    monkeypatch.setattr(FrontEndView, "authentication_classes", [JWTAuthentication])
    ours = FrontEnd(Client(), api="/drf/google/", authorization="Bearer expired")

    assert refusal(ours.send("GET", "accounts/")) == (401, "login_required")


def test_openapi_is_served(client: Client, api_site: None) -> None:
    """To anybody, as it is shipped."""
    for api in ("/google/api/", "/drf/google/"):
        assert client.get(f"{api}openapi.json").json() == read_openapi()


def test_html_is_not_served(allow_front_end: None, api_site: None, user: Any) -> None:
    """Not even to who accepts nothing else."""
    html = FrontEnd(
        Client(), api="/drf/google/", authorization="Bearer token-anna", accept="text/html"
    )

    assert refusal(html.send("GET", "accounts/")) == (406, "not_acceptable")


def test_schema_of_rest_framework(api_site: None, settings: Settings) -> None:
    """drf-spectacular shows the endpoints, with what they take and give."""
    settings.REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
    schema = SchemaGenerator().get_schema(request=None, public=True)

    contract = read_openapi()
    shown = {
        (path.removeprefix("/drf/google"), method)
        for path, methods in schema["paths"].items()
        if path.startswith("/drf/google/")
        for method in methods
    }
    assert shown == {
        (path, method)
        for path, methods in contract["paths"].items()
        for method in methods
        if method != "parameters"
    }
    ours, theirs = contract["components"]["schemas"], schema["components"]["schemas"]
    for own, name in (("Account", "Account"), ("Link", "Link")):
        readable = {
            key for key, value in theirs[name]["properties"].items() if not value.get("writeOnly")
        }
        assert readable >= set(ours[own]["properties"])


def test_schema_of_ninja(api_site: None, client: Client) -> None:
    """The same there, with all that the contract says."""
    schema = client.get("/ninja/openapi.json").json()

    for path, methods in read_openapi()["paths"].items():
        for method in methods.keys() - {"parameters"}:
            shown = schema["paths"][f"/ninja/google{path}"][method]
            assert set(shown["responses"]) >= set(methods[method]["responses"])
            assert ("requestBody" in shown) is ("requestBody" in methods[method])

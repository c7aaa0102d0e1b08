"""The arguments of ``googleapiclient.discovery.build``, and APIs that it does not include."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from googleapiclient.discovery_cache import get_static_doc
from googleapiclient.discovery_cache.base import Cache
from googleapiclient.http import HttpRequest

from django_google_link.http.pool import process_pool
from django_google_link.models import GoogleAccount
from django_google_link.services import build_service
from django_google_link.testing import FakeGoogle
from django_google_link.testing.accounts import make_google_account
from tests.support.hostile_servers import HostileServer, answering, hostile_server, make_answer

pytestmark = pytest.mark.django_db

DOCUMENT = json.loads(get_static_doc("calendar", "v3"))


@pytest.fixture
def api(google: FakeGoogle, configure: Callable[..., None]) -> Iterator[HostileServer]:
    """A server in place of Google's APIs, with persistent connections."""
    with hostile_server() as server:
        configure(API_ENDPOINT=server.url)
        yield server
    process_pool().close_idle()


@pytest.fixture
def account(api: HostileServer, user: Any) -> GoogleAccount:
    """An account with a valid access token."""
    return make_google_account(user, access_token="ya29.x")


class OwnRequest(HttpRequest):
    """A project's own request class."""


class OwnCache(Cache):
    """A project's own cache of discovery documents."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def get(self, url: str) -> str | None:
        """Return a document."""
        return self.kept.get(url)

    def set(self, url: str, content: str) -> None:
        """Keep a document."""
        self.kept[url] = content


@pytest.mark.matrix
@pytest.mark.parametrize(
    "arguments",
    [
        {"cache_discovery": False},
        {"cache_discovery": True, "cache": OwnCache(), "num_retries": 3},
        {"static_discovery": True},
        {"static_discovery": None, "discoveryServiceUrl": None},
        {"developerKey": None, "model": None, "client_options": None},
        {"requestBuilder": OwnRequest, "always_use_jwt_access": False},
        {"adc_cert_path": None, "adc_key_path": None},
    ],
)
def test_usual_arguments_of_googleapiclient(
    api: HostileServer, account: GoogleAccount, arguments: dict[str, Any]
) -> None:
    """The arguments used in tutorials are accepted, with the included document."""
    service = build_service(account, "calendar", "v3", **arguments)

    service.events().list(calendarId="primary").execute()

    [request] = api.requests
    assert request.path.startswith("/calendar/v3/calendars/primary/events")
    assert request.headers["authorization"] == "Bearer ya29.x"


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("http", "omit it. To use another http, call googleapiclient.discovery.build("),
        ("credentials", "omit them. To use others, call googleapiclient.discovery.build"),
        ("serviceName", 'build_service(owner, "calendar", "v3")'),
        ("cache_discovry", "Did you mean cache_discovery?"),
        ("scope", "Did you mean scopes?"),
        ("static_discover", "Did you mean static_discovery?"),
        ("zzz", "It takes adc_cert_path, "),
    ],
)
def test_arguments_that_there_are_not(account: GoogleAccount, name: str, advice: str) -> None:
    """The error says what to write instead."""
    with pytest.raises(TypeError) as caught:
        build_service(account, "calendar", "v3", **{name: None})

    assert f"build_service() takes no argument {name!r}. " in str(caught.value)
    assert advice in str(caught.value)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("name", "version", "meant"),
    [
        ("calender", "v3", '"calendar", "v3"'),
        ("Calendar", "v3", '"calendar", "v3"'),
        ("calendar", "v33", '"calendar", "v3"'),
        ("calendar", "V3", '"calendar", "v3"'),
        ("calendar.googleapis.com", "v3", '"calendar", "v3"'),
        ("v3", "calendar", '"calendar", "v3"'),
        ("drive", "v33", '"drive", "v3"'),
        ("google-drive", "3", '"drive", "v3"'),
        ("gmail", "1", '"gmail", "v1"'),
        ("gmail", 1, '"gmail", "v1"'),
        ("gmail", None, '"gmail", "v1"'),
        ("GmailAPI", "v1", '"gmail", "v1"'),
        ("spreadsheets", "v4", '"sheets", "v4"'),
        ("sheets", "v3", '"sheets", "v4"'),
        ("contacts", "v3", '"people", "v1"'),
    ],
)
def test_api_that_is_misspelt(account: GoogleAccount, name: Any, version: Any, meant: str) -> None:
    """The error suggests the intended API, and how to use one that is not included."""
    with pytest.raises(ValueError, match=r"^google-api-python-client ") as caught:
        build_service(account, name, version)

    text = str(caught.value)
    assert f"does not include version {version!r} of an API {name!r}. Did you mean {meant}?" in text
    assert "pass static_discovery=False" in text
    assert "build_from_document(document, http=authorized_http(owner))" in text


def test_versions_of_which_none_is_close(account: GoogleAccount) -> None:
    """The error lists all versions instead of guessing."""
    with pytest.raises(ValueError, match=r"'admin' has datatransfer_v1, .*, reports_v1") as caught:
        build_service(account, "admin", "v1")

    assert "Did you mean" not in str(caught.value)


def test_api_that_resembles_none(account: GoogleAccount) -> None:
    """The error contains no suggestion, but says how to use other APIs."""
    with pytest.raises(ValueError, match="static_discovery=False") as caught:
        build_service(account, "daybook", "v1")

    assert "Did you mean" not in str(caught.value)


def make_document(name: str) -> dict[str, Any]:
    """Return the document of an API that googleapiclient does not include."""
    root = "https://www.googleapis.com/"
    return {**DOCUMENT, "id": f"{name}:v1", "name": name, "rootUrl": root, "mtlsRootUrl": root}


@pytest.mark.matrix
@pytest.mark.parametrize("is_kept", [True, False])
def test_document_that_is_fetched(
    api: HostileServer, account: GoogleAccount, is_kept: bool
) -> None:
    """It is fetched without a token, and cached unless told otherwise."""
    name = f"daybook{is_kept}"
    documents = 1 if is_kept else 2
    for _ in range(2):
        if len(api.requests) < documents * 2 - 1 or not is_kept:
            api.next.append(answering(make_answer(make_document(name))))
        service = build_service(
            account, name, "v1", static_discovery=False, cache_discovery=is_kept
        )
        service.events().list(calendarId="primary").execute()

    asked = [seen for seen in api.requests if "discovery" in seen.path]
    assert [seen.path for seen in asked] == [f"/discovery/v1/apis/{name}/v1/rest"] * documents
    assert not any("authorization" in seen.headers for seen in asked)
    used = [seen for seen in api.requests if "discovery" not in seen.path]
    assert [seen.headers["authorization"] for seen in used] == ["Bearer ya29.x"] * 2


def test_document_at_another_address(api: HostileServer, account: GoogleAccount) -> None:
    """A given URL is used instead of the included document."""
    api.next.append(answering(make_answer(make_document("calendar"))))

    build_service(
        account,
        "calendar",
        "v3",
        discoveryServiceUrl=f"{api.url}/documents/{{api}}/{{apiVersion}}",
        developerKey="AIza1",
    )

    [request] = api.requests
    assert request.path == "/documents/calendar/v3?key=AIza1"


def test_documents_in_a_cache_of_ones_own(api: HostileServer, account: GoogleAccount) -> None:
    """A given cache is used instead of the process's."""
    cache = OwnCache()
    api.next.append(answering(make_answer(make_document("almanac"))))
    for _ in range(2):
        build_service(account, "almanac", "v1", static_discovery=False, cache=cache)

    assert len(api.requests) == len(cache.kept) == 1


def test_document_that_nobody_publishes(api: HostileServer, account: GoogleAccount) -> None:
    """Both of Google's URLs are tried, and the error suggests the intended API."""
    api.next.extend([answering(make_answer({}, "404 Not Found"))] * 2)

    with pytest.raises(ValueError, match=r'^No discovery document .*mean "calendar", "v3"\?'):
        build_service(account, "calender", "v3", static_discovery=False)

    assert len(api.requests) == 2

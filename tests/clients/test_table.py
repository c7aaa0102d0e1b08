"""What other people's clients do with our credentials when something is wrong: a table.

``pytest -s`` prints it. Each client is made while all is well, and called afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import time_machine
from django.core.asgi import get_asgi_application
from django.db import connections
from django.http import JsonResponse
from django.test import Client
from django.urls import include, path
from django.utils import timezone

from django_google_link.decorators import google_required
from django_google_link.models import GoogleAccount
from django_google_link.services import authorized_session, build_service, credentials_for
from django_google_link.testing import FakeGoogle, FakeUser
from tests.documentation.pages import block_with, tables, text_of
from tests.support.accounts import linked
from tests.support.constants import CALENDAR
from tests.support.databases import new_user

grpc = pytest.importorskip("grpc")
gspread = pytest.importorskip("gspread")
# It would look for hierarchical buckets by gRPC, at Google's.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
gcsfs = pytest.importorskip("gcsfs")
storage = pytest.importorskip("google.cloud.storage")
uvicorn = pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")
genai = pytest.importorskip("google.genai")
storages = pytest.importorskip("storages.backends.gcloud")

pytestmark = [
    pytest.mark.clients,
    pytest.mark.usefixtures("shared_database"),
    pytest.mark.urls(__name__),
    # Other people's: files and threads that are left to the garbage collector.
    pytest.mark.filterwarnings("ignore"),
]

#: Seconds in which every call has come to its end.
LIMIT = 60
STORAGE = "https://www.googleapis.com/auth/devstorage.read_write"
CLOUD = "https://www.googleapis.com/auth/cloud-platform"
EVENTS = "https://www.googleapis.com/calendar/v3/calendars/primary/events"

Call = Callable[[], Any]


@google_required(scopes=[CALENDAR])
async def agenda(request: Any) -> JsonResponse:
    """A view that calls Google by httpx."""
    async with httpx.AsyncClient() as client:
        response = await client.get(EVENTS, auth=request.google.httpx_auth())
    return JsonResponse(response.json(), status=response.status_code)


urlpatterns = [path("google/", include("django_google_link.urls")), path("agenda/", agenda)]


class Stage:
    """A Google, a user with a linked account, and what has to be undone."""

    def __init__(self, google: FakeGoogle, alice: FakeUser, user: Any, undo: ExitStack) -> None:
        self.google = google
        self.alice = alice
        self.user = user
        self.undo = undo
        #: Seconds that a client has slept between its attempts.
        self.slept: list[float] = []


def make_googleapiclient(stage: Stage) -> Call:
    """A built service."""
    service = build_service(stage.user, "calendar", "v3")
    return lambda: service.events().list(calendarId="primary").execute()


def make_session(stage: Stage) -> Call:
    """A session of requests."""
    session = authorized_session(stage.user)
    return lambda: _read(session.get(EVENTS))


def make_gspread(stage: Stage) -> Call:
    """Over a session of ours."""
    client = gspread.Client(auth=None, session=authorized_session(stage.user))
    return lambda: client.open_by_key("k").title


def make_storage(stage: Stage) -> Call:
    """google-cloud-storage over REST."""
    client = storage.Client(
        project="p",
        credentials=credentials_for(stage.user),
        client_options={"api_endpoint": stage.google.url},
    )
    stage.undo.callback(client.close)
    return lambda: client.bucket("b").blob("o").download_as_bytes()


def make_django_storages(stage: Stage) -> Call:
    """A storage of Django's."""
    backend = storages.GoogleCloudStorage(
        bucket_name="b",
        project_id="p",
        credentials=credentials_for(stage.user),
    )
    stage.undo.callback(backend.client.close)
    return lambda: backend.open("o").read()


def make_gcsfs(stage: Stage) -> Call:
    """A file system, which works in an event loop of its own."""
    system = gcsfs.GCSFileSystem(
        project="p",
        token=credentials_for(stage.user),
        endpoint_url=stage.google.url,
        skip_instance_cache=True,
    )
    return lambda: system.cat_file("b/o")


def make_gcsfs_with_recipe(stage: Stage) -> Call:
    """The same, as the guide has it."""
    names: dict[str, Any] = {}
    exec(block_with("howto/other-clients", "def read_file"), names)
    system = names["open_file_system"](stage.user, endpoint_url=stage.google.url)
    return lambda: names["read_file"](system, "b/o")


def make_genai_with_recipe(stage: Stage) -> Call:
    """google-genai over Vertex AI, as the guide has it."""
    names: dict[str, Any] = {}
    exec(block_with("howto/other-clients", "def generate"), names)
    options = {"base_url": stage.google.url}
    client = names["make_client"](stage.user, project="p", http_options=options)
    return lambda: names["generate"](*client, "Hello").text


def make_grpc_with_recipe(stage: Stage) -> Call:
    """A channel with the guide's interceptor."""
    from tests.clients.support import UNARY, grpc_server

    names: dict[str, Any] = {"__name__": "mysite"}
    exec(block_with("howto/grpc", "class SendToken("), names)
    address, _ = stage.undo.enter_context(grpc_server(stage.google))
    plain = stage.undo.enter_context(grpc.insecure_channel(address))
    channel = grpc.intercept_channel(plain, names["SendToken"](credentials_for(stage.user)))
    return lambda: channel.unary_unary(UNARY)(b"x", timeout=LIMIT)


def make_httpx_view(stage: Stage) -> Call:
    """A view under uvicorn."""
    config = uvicorn.Config(get_asgi_application(), port=0, lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    thread = Thread(target=server.run)
    thread.start()

    def stop() -> None:
        server.should_exit = True
        thread.join()

    stage.undo.callback(stop)
    while not server.started:
        assert thread.is_alive()
    port = server.servers[0].sockets[0].getsockname()[1]
    browser = Client()
    browser.force_login(stage.user)
    cookies = {name: morsel.value for name, morsel in browser.cookies.items()}
    url = f"http://127.0.0.1:{port}/agenda/"
    # A browser is led on; a program would be told.
    headers = {"Accept": "text/html"}
    return lambda: _read(
        requests.get(url, cookies=cookies, headers=headers, timeout=LIMIT, allow_redirects=False)
    )


def _read(response: Any) -> Any:
    if response.is_redirect:
        assert "/google/authorize/" in response.headers["Location"]
        raise AnswerError("leads to consent")
    if not response.ok:
        raise AnswerError(f"HTTP {response.status_code}")
    return response.json()


class AnswerError(Exception):
    """An answer that is no success."""


CLIENTS: dict[str, Callable[[Stage], Call]] = {
    "googleapiclient": make_googleapiclient,
    "authorized_session": make_session,
    "gspread": make_gspread,
    "google-cloud-storage": make_storage,
    "django-storages": make_django_storages,
    "gcsfs": make_gcsfs,
    "gcsfs, recipe": make_gcsfs_with_recipe,
    "httpx view, uvicorn": make_httpx_view,
    "gRPC, recipe": make_grpc_with_recipe,
    "google-genai, recipe": make_genai_with_recipe,
}


@contextmanager
def later() -> Iterator[None]:
    """Two hours later, by every clock of this process."""
    with time_machine.travel(timezone.now() + timedelta(hours=2)):
        yield


@contextmanager
def fresh(stage: Stage) -> Iterator[None]:
    """All is well."""
    yield


@contextmanager
def expired(stage: Stage) -> Iterator[None]:
    """The token has ended since the client was made."""
    with later():
        yield


@contextmanager
def refused(stage: Stage) -> Iterator[None]:
    """The API answers 401 to a token that looks fresh."""
    stage.google.expire_access_tokens()
    yield


@contextmanager
def revoked(stage: Stage) -> Iterator[None]:
    """The user has withdrawn the grant, and the API says so."""
    stage.google.revoke(stage.alice)
    yield


@contextmanager
def revoked_and_expired(stage: Stage) -> Iterator[None]:
    """The user has withdrawn the grant, and the token has ended."""
    stage.google.revoke(stage.alice)
    with later():
        yield


@contextmanager
def down(stage: Stage) -> Iterator[None]:
    """The token has ended, and Google gives no other."""
    stage.google.fail_next(100)
    with later():
        yield


#: In the order of the guide's columns.
CASES = (fresh, expired, refused, revoked, revoked_and_expired, down)

GENERATE = "/v1beta1/projects/p/locations/global/publishers/google/models/gemini-2.5-flash"


def serve_everything(google: FakeGoogle) -> None:
    """Let Google have all that the clients ask for."""
    answer = {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}]}}]}
    google.answer("/calendar/v3/calendars/primary/events", {"items": []})
    google.answer("/v4/spreadsheets/k", {"properties": {"title": "t"}, "sheets": []})
    google.answer("/download/storage/v1/b/b/o/o", {"of": "the file"})
    google.answer("/storage/v1/b/b", {"name": "b"})
    google.answer(
        "/storage/v1/b/b/o/o",
        {
            "name": "o",
            "bucket": "b",
            "size": "8",
            "generation": "1",
            "mediaLink": f"{google.url}/download/storage/v1/b/b/o/o?alt=media",
        },
    )
    google.answer(f"{GENERATE}:generateContent", answer, method="POST")


def observe(stage: Stage, make: Callable[[Stage], Call], case: Any) -> str:
    """Return what a client does, in the guide's words."""
    call = make(stage)
    with case(stage), ThreadPoolExecutor(1) as thread:
        try:
            thread.submit(call).result(LIMIT)
            outcome = "works"
        except AnswerError as error:
            outcome = str(error)
        except Exception as error:
            outcome = f"`{type(error).__name__}`"
        thread.submit(connections.close_all).result()
    refreshes = len(stage.google.requests_to("token"))
    if stage.slept:
        outcome += f" after {sum(stage.slept):.0f} s"
    return f"{outcome}, {refreshes}"


@pytest.mark.parametrize("name", CLIENTS)
def test_clients_do_what_the_guide_says(
    google: FakeGoogle,
    alice: FakeUser,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    """Each in each case, within a time, and with one refresh at the most."""
    serve_everything(google)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", google.url)
    user, row = new_user(), [name]
    for case in CASES:
        GoogleAccount.objects.all().delete()
        linked(user, google, alice, scopes=[CALENDAR, STORAGE, CLOUD])
        google.clear_requests()
        with ExitStack() as undo:
            stage = Stage(google, alice, user, undo)

            async def sleep(seconds: float, stage: Stage = stage) -> None:
                stage.slept.append(int(seconds))

            monkeypatch.setattr(gcsfs.retry, "asyncio", SimpleNamespace(sleep=sleep))
            row.append(observe(stage, CLIENTS[name], case))
    with capsys.disabled():
        print(f"\n| {' | '.join(row)} |")

    [table] = tables(text_of("howto/other-clients"))
    assert row in table


def test_guide_knows_each_client() -> None:
    """And no other."""
    [table] = tables(text_of("howto/other-clients"))

    assert [row[0] for row in table] == list(CLIENTS)

"""Starting and stopping, and what is registered beforehand."""

from __future__ import annotations

import socket
import subprocess
import sys
import time

import pytest
import requests

from django_google_link import testing
from django_google_link.testing import FakeGoogle, FakeGoogleError
from tests.testing.app import CALENDAR, REDIRECT_URI


def run_python(code):
    """Run code in a Python of its own, and return what it prints."""
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()


def test_serves_on_loopback(google, http):
    """The fake is reachable at its URL, on loopback only."""
    document = http.get(f"{google.url}/.well-known/openid-configuration").json()

    assert google.url.startswith("http://127.0.0.1:")
    assert repr(google) == f"<FakeGoogle {google.url}>"
    assert document["issuer"] == google.url


def test_discovery(google, http):
    """The discovery document says where everything is, and is cacheable."""
    response = http.get(f"{google.url}/.well-known/openid-configuration")

    document, settings = response.json(), google.client_settings()
    assert response.headers["Cache-Control"] == "public, max-age=3600"
    assert document["authorization_endpoint"] == settings["AUTHORIZATION_ENDPOINT"]
    assert document["token_endpoint"] == settings["TOKEN_ENDPOINT"]
    assert document["revocation_endpoint"] == settings["REVOCATION_ENDPOINT"]
    assert document["jwks_uri"] == settings["JWKS_URI"]
    assert document["userinfo_endpoint"] == f"{google.url}/v1/userinfo"
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert document["authorization_response_iss_parameter_supported"] is False


def test_stopped(google, http):
    """A fake that was stopped refuses connections; started again it is where it was."""
    url = google.url

    google.stop()
    google.stop()
    with pytest.raises(requests.ConnectionError):
        http.get(url)
    google.start()

    assert google.url == url
    assert http.get(f"{url}/oauth2/v3/certs").status_code == 200


def test_stopped_by_with(http):
    """At the end of the with statement nobody listens any more."""
    with FakeGoogle() as google:
        assert http.get(f"{google.url}/oauth2/v3/certs").status_code == 200

    with pytest.raises(requests.ConnectionError):
        http.get(google.url)


def test_stops_soon():
    """Starting and stopping take no time worth mentioning."""
    began = time.monotonic()

    for _ in range(5):
        FakeGoogle().start().stop()

    assert time.monotonic() - began < 1


def test_started_twice(google):
    """To start what runs already changes nothing."""
    url = google.url

    assert google.start() is google
    assert google.url == url


def test_not_started():
    """Without a port there is no URL; all the rest can be set up already."""
    google = FakeGoogle()
    alice = google.add_user("alice@example.com")
    google.grant(alice, [CALENDAR])

    assert repr(google) == "<FakeGoogle not started>"
    with pytest.raises(FakeGoogleError, match="Start this FakeGoogle first"):
        google.client_settings()


def test_fixed_port(http):
    """A port may be given; one that is taken is an ordinary error."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            FakeGoogle(port=port).start()

    with FakeGoogle(port=port) as google:
        assert google.url == f"http://127.0.0.1:{port}"


def test_several_at_once(google, alice):
    """Fakes know nothing of each other."""
    with FakeGoogle() as other:
        assert other.url != google.url
        assert other.client.client_id != google.client.client_id
        assert other.add_user("alice@example.com").sub != alice.sub


def test_slow_client_holds_up_nobody(google, http):
    """A client that does not finish its request keeps no one else waiting."""
    address = ("127.0.0.1", int(google.url.rpartition(":")[2]))
    head = "POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
    form = "Content-Type: application/x-www-form-urlencoded\r\n\r\n"

    with socket.create_connection(address) as slow:
        slow.sendall((head + form).encode())
        time.sleep(0.05)
        response = http.get(f"{google.url}/oauth2/v3/certs", timeout=2)

    assert response.status_code == 200


def test_silent(google, http, capfd, caplog):
    """Requests are not logged, neither to the terminal nor to the logging module."""
    http.get(f"{google.url}/nothing")
    google.fail_next(drop=True, endpoint="certs")
    with pytest.raises(requests.ConnectionError):
        http.get(f"{google.url}/oauth2/v3/certs")
    google.stop()

    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_client(google):
    """The default client looks like Google's, and shows no secret."""
    assert google.client.client_id.endswith(".apps.googleusercontent.com")
    assert google.client.client_secret.startswith("GOCSPX-")
    assert google.client.client_secret not in repr(google.client)
    assert google.client.redirect_uris == [REDIRECT_URI]
    assert FakeGoogle().client.redirect_uris == []


def test_add_client(google):
    """A client is what it was registered as; what is not given is made up."""
    known = google.add_client(client_id="id", client_secret="secret", redirect_uris=("a", "b"))
    unknown = google.add_client()

    assert (known.client_id, known.client_secret) == ("id", "secret")
    assert (known.redirect_uris, known.type) == (["a", "b"], "web")
    assert unknown.client_id not in ("id", google.client.client_id)
    with pytest.raises(ValueError, match="already a client id"):
        google.add_client(client_id="id")


def test_project_of_a_client(google):
    """The number that a client id of Google's begins with; other ids are projects themselves."""
    sibling = google.add_client(project=google.client.project)

    assert google.client.client_id.startswith(f"{google.client.project}-")
    assert sibling.client_id.startswith(f"{google.client.project}-")
    assert sibling.client_id != google.client.client_id
    assert google.add_client().project != google.client.project
    for client_id in ("daybook", "12-daybook", "daybook-1.apps.googleusercontent.com"):
        assert google.add_client(client_id=client_id).project == client_id


def test_add_user_twice(google, alice):
    """No two accounts share an address or a sub."""
    with pytest.raises(ValueError, match="already an account"):
        google.add_user("Alice@example.com")
    with pytest.raises(ValueError, match="already an account"):
        google.add_user("other@example.com", sub=alice.sub)


def test_remove_user(google, app, alice):
    """A closed account loses its grants and its pages; its address may be taken by another."""
    tokens = google.grant(alice, [CALENDAR])
    location = google.consent(app.authorization_url(prompt="consent"))
    page = app.open(prompt="consent")

    google.remove_user(alice)
    successor = google.add_user(alice.email)

    assert app.refresh(tokens.refresh_token).json()["error"] == "invalid_grant"
    assert app.exchange(location).json()["error"] == "invalid_grant"
    form = {"ticket": page.text.partition('name="ticket" value="')[2].partition('"')[0]}
    decision = app.http.post(f"{google.url}/o/oauth2/v2/auth/consent", data=form)
    assert decision.status_code == 400
    assert (google.granted_scopes(alice), successor.sub == alice.sub) == (None, False)


def test_remove_user_leaves_others_alone(google, app, alice):
    """Other accounts keep what they have granted."""
    bob = google.add_user("bob@example.com")
    tokens = google.grant(bob, [CALENDAR])

    google.remove_user(alice)

    assert app.refresh(tokens.refresh_token).status_code == 200
    assert google.granted_scopes(bob) == {CALENDAR}


def test_client_settings(google):
    """The settings name the client and every endpoint."""
    client = google.add_client(client_id="id", client_secret="secret")

    assert google.client_settings()["CLIENT_ID"] == google.client.client_id
    assert google.client_settings(client) == {
        "CLIENT_ID": "id",
        "CLIENT_SECRET": "secret",
        "PROVIDER": "google",
        "AUTHORIZATION_ENDPOINT": f"{google.url}/o/oauth2/v2/auth",
        "TOKEN_ENDPOINT": f"{google.url}/token",
        "REVOCATION_ENDPOINT": f"{google.url}/revoke",
        "JWKS_URI": f"{google.url}/oauth2/v3/certs",
        "ISSUER": google.url,
        "API_ENDPOINT": google.url,
    }


def test_client_secrets(google):
    """The file is the one that Google's console gives, of either type."""
    client = google.add_client(
        client_id="id", client_secret="secret", redirect_uris=["http://localhost"]
    )

    assert google.client_secrets(client) == {
        "web": {
            "client_id": "id",
            "project_id": "fake-google",
            "auth_uri": f"{google.url}/o/oauth2/v2/auth",
            "token_uri": f"{google.url}/token",
            "auth_provider_x509_cert_url": f"{google.url}/oauth2/v3/certs",
            "client_secret": "secret",
            "redirect_uris": ["http://localhost"],
        }
    }
    assert list(google.client_secrets(type="installed")) == ["installed"]
    assert list(google.client_secrets(google.add_client(type="installed"))) == ["installed"]


def test_import_is_light():
    """To import the package loads nothing heavy, and nothing of Django."""
    code = (
        "import sys, django_google_link.testing\n"
        "print({'werkzeug', 'jinja2', 'joserfc', 'requests', 'django'} & set(sys.modules))"
    )

    assert run_python(code) == "set()"


@pytest.mark.slow
def test_works_without_django():
    """The fake serves in a process that never hears of Django, nor of the rest of the app."""
    code = (
        "import sys\n"
        "from django_google_link.testing import FakeGoogle\n"
        "with FakeGoogle() as google:\n"
        "    google.grant(google.add_user('alice@example.com'), ['openid'])\n"
        "print([name for name in sys.modules if name == 'django' or\n"
        "       name.startswith('django_google_link.') and '.testing' not in name])"
    )

    assert run_python(code) == "[]"


def test_unknown_name():
    """A name that the kit does not have is an ordinary AttributeError."""
    with pytest.raises(AttributeError, match="has no attribute 'FakeYahoo'"):
        testing.FakeYahoo  # noqa: B018


def test_every_name_is_there():
    """All that is announced can be imported."""
    names = {"FakeClient", "FakeGoogle", "FakeGoogleError", "FakeUser", "RecordedRequest"}

    assert names <= set(testing.__all__)
    assert [getattr(testing, name).__name__ for name in sorted(names)] == sorted(names)

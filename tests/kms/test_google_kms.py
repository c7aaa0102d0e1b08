"""Cloud KMS by Google's own client, which speaks to a server on this machine."""

from __future__ import annotations

import io
import logging
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Iterator
from contextlib import suppress
from threading import Event
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings
from werkzeug import Response

from django_google_link.encryption.keyring import key_ids, make_key, require_key
from django_google_link.exceptions import KeyServiceError
from django_google_link.testing import travel
from tests.support.google_kms import LOCATION, GoogleKMSServer, refuse
from tests.support.key_services import make_up, use_keys

pytestmark = [pytest.mark.kms, pytest.mark.slow]

_server: list[GoogleKMSServer] = []


def make_service() -> Any:
    """Return the service, led to the server, with credentials that it does not look at."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.kms_v1 import KeyManagementServiceClient

    from django_google_link.contrib.google_kms import GoogleKeyService

    class LocalKMS(GoogleKeyService):
        def make_client(self) -> Any:
            return KeyManagementServiceClient(
                credentials=AnonymousCredentials(),
                client_options={"api_endpoint": _server[-1].url},
                transport="rest",
            )

    return LocalKMS()


@pytest.fixture
def kms(google_kms: GoogleKMSServer, site: Settings) -> Iterator[GoogleKMSServer]:
    """The service of the site."""
    _server.append(google_kms)
    site.GOOGLE_LINK = {
        **site.GOOGLE_LINK,
        "KEY_SERVICES": {"google-kms": f"{__name__}.make_service"},
    }
    yield google_kms
    _server.pop()


def wrap(key: str = "one", command: str = "generate_key", **options: Any) -> list[str]:
    """Print keys, and return them."""
    out = io.StringIO()
    wrap_with = f"google-kms:{LOCATION}{key}"
    call_command(f"google_link_{command}", wrap_with=wrap_with, stdout=out, **options)
    return out.getvalue().split()


def test_wrapped_key_is_unwrapped_once(kms: GoogleKMSServer, site: Settings) -> None:
    """As it was printed."""
    [text] = wrap()
    assert text.startswith(f"google-kms:{LOCATION}one:")
    assert kms.asked == ["encrypt", "decrypt"]
    use_keys(site, text)

    require_key()
    require_key()

    assert text.split(":")[2] == key_ids()[0]
    assert kms.asked == ["encrypt", "decrypt", "decrypt"]


def test_keys_are_wrapped_with_another_key(kms: GoogleKMSServer, site: Settings) -> None:
    """They stay the same keys, each in its place."""
    use_keys(site, *wrap(), *wrap())
    before = key_ids()

    texts = wrap("two", "rewrap_keys")

    use_keys(site, *texts)
    assert key_ids() == before
    assert all(f"{LOCATION}two:" in text for text in texts)
    require_key()


def nonsense() -> Response:
    """Answer what no client understands."""
    return Response("<html>hush-hush</html>", content_type="text/html")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: refuse(403, "PERMISSION_DENIED"), "roles/cloudkms.cryptoKeyEncrypterDecrypter"),
        (lambda: refuse(401, "UNAUTHENTICATED"), "default credentials"),
        (lambda: refuse(404, "NOT_FOUND"), "Correct the name of the key"),
        (lambda: refuse(400, "FAILED_PRECONDITION"), "enabled"),
        (lambda: refuse(503, "UNAVAILABLE"), "responded with ServiceUnavailable"),
        (nonsense, "fails with"),
        (lambda: Response("{}", content_type="application/json"), "returned another key"),
        (lambda: Response('{"plaintext": "c2hvcnQ="}'), "returned another key"),
    ],
)
def test_refusal_says_what_to_do(
    kms: GoogleKMSServer, site: Settings, answer: Any, said: str
) -> None:
    """In our words; the service is asked once for all of them."""
    use_keys(site, make_up("google-kms", f"{LOCATION}one"))
    kms.answer = answer
    for _ in range(3):
        with pytest.raises(KeyServiceError) as caught:
            require_key()
        assert said in str(caught.value)
        assert "hush" not in str(caught.value)
    assert kms.asked == ["decrypt"]


@pytest.mark.parametrize("change", ["site", "key", "text"])
def test_key_that_was_wrapped_otherwise_stays_wrapped(
    kms: GoogleKMSServer, site: Settings, change: str
) -> None:
    """For another site, with another key, or tampered with."""
    [text] = wrap()
    use_keys(
        site,
        text.replace("/one:", "/two:")
        if change == "key"
        else text[: -9 * (change == "text") or None],
        ENCRYPTION_SITE="staging.example.com" if change == "site" else "www.example.com",
    )

    with pytest.raises(
        KeyServiceError, match=r"responded with (InvalidArgument|BadRequest)"
    ) as caught:
        require_key()

    assert "ENCRYPTION_SITE" in caught.value.hint


def test_service_that_is_not_there_is_told(site: Settings, kms: GoogleKMSServer) -> None:
    """Where nobody listens."""
    use_keys(site, make_up("google-kms", f"{LOCATION}one"))
    kms.url = "http://127.0.0.1:1"

    with pytest.raises(KeyServiceError, match=r"google-kms, which (fails|responded)"):
        require_key()


def test_service_that_is_slow_is_given_up(site: Settings, kms: GoogleKMSServer) -> None:
    """After HTTP_TIMEOUT; and after five seconds it is well again."""
    [text] = wrap()
    use_keys(site, text, HTTP_TIMEOUT=0.2)
    is_asked, is_over = Event(), Event()

    def hang() -> Response:
        is_asked.set()
        is_over.wait(10)
        return refuse(503, "UNAVAILABLE")

    kms.answer = hang

    with pytest.raises(KeyServiceError, match=r"did not respond within 0.2 seconds"):
        require_key()
    assert is_asked.wait(20)
    is_over.set()
    kms.answer = None
    use_keys(site, text, HTTP_TIMEOUT=20)
    with travel(seconds=6):
        with suppress(KeyServiceError):
            require_key()  # The late answer, if it has just come.
        with travel(seconds=6):
            require_key()


def test_key_that_is_not_there_is_told(kms: GoogleKMSServer) -> None:
    """By the command, before anything is printed."""
    with pytest.raises(CommandError, match=r"cannot wrap keys.*Correct the name of the key"):
        wrap("three")


def test_machine_without_credentials_is_told(
    site: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """By the command as well."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))

    with pytest.raises(CommandError, match=r"has no credentials.*application-default-credentials"):
        wrap()


def test_key_is_not_logged(
    kms: GoogleKMSServer, site: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Google's client logs at DEBUG what it sends and gets."""
    plain, logger = make_key(), logging.getLogger("google.cloud.kms_v1")
    use_keys(site, plain)
    caplog.set_level(logging.DEBUG, logger=logger.name)
    logger.addHandler(caplog.handler)
    try:
        [text] = wrap("two", "rewrap_keys")
        use_keys(site, text)
        require_key()
    finally:
        logger.removeHandler(caplog.handler)

    logged = str([vars(record) for record in caplog.records])
    assert "plaintext" not in logged.lower()
    for form in (plain, b64encode(urlsafe_b64decode(plain)).decode()):
        assert form not in logged

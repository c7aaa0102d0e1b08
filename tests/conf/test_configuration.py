"""Settings, clients and secrets files: what works, and what is said of what does not."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.test import RequestFactory
from django.views.debug import ExceptionReporter
from pytest_django import Settings

from django_google_link.conf.clients import get_client
from django_google_link.conf.providers import DEFAULT_ENDPOINTS
from django_google_link.conf.settings import conf
from django_google_link.encryption.keyring import key_ids
from django_google_link.exceptions import SettingsError

CALENDAR = "https://www.googleapis.com/auth/calendar.readonly"
SECRET = "hush-hush-hush"
KEY = "kY3hQ0yJmWc1V7r8b2NnDq5sTz4uXe9fAg6LiPoRwEI="
WEB = {"client_id": "id", "client_secret": "hush-hush", "redirect_uris": ["https://a.example/cb"]}

Change = Callable[..., None]
calls: list[int] = []


@pytest.fixture
def change(settings: Settings) -> Change:
    """Change keys of GOOGLE_LINK."""

    def change(**keys: Any) -> None:
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, **keys}

    return change


@pytest.fixture
def client_with(change: Change) -> Change:
    """Replace the default client by one with these keys besides its credentials."""

    def client_with(**keys: Any) -> None:
        change(CLIENTS={"default": {"CLIENT_ID": "id", "CLIENT_SECRET": "hush-hush", **keys}})

    return client_with


@pytest.fixture
def file_with(tmp_path: Path, change: Change) -> Callable[[Any], Path]:
    """Write a secrets file, and let the default client use it."""

    def file_with(content: Any) -> Path:
        path = tmp_path / "client_secret.json"
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        path.write_bytes(data)
        change(CLIENTS={"default": {"CLIENT_SECRETS_FILE": path}})
        return path

    return file_with


def ids() -> set[str]:
    """Return the ids of what the checks find."""
    return {str(message.id).rpartition(".")[2] for message in run_checks()}


def hints() -> str:
    """Return all that the checks say."""
    return " ".join(f"{message.msg} {message.hint}" for message in run_checks())


def make_keys() -> list[str]:
    """Return the keys, as a callable that unwraps them would."""
    calls.append(1)
    return [KEY]


def resolve(request: Any) -> str:
    """Name a client."""
    return "default"


def test_the_smallest_settings_pass(db: None) -> None:
    """What the tests run on is enough."""
    assert ids() == set()


def test_client_of_id_and_secret(client_with: Change) -> None:
    """With Google's endpoints."""
    client_with(SCOPES=[CALENDAR])

    client = get_client()

    assert (client.client_id, client.client_secret.reveal()) == ("id", "hush-hush")
    assert client.token_endpoint == DEFAULT_ENDPOINTS["TOKEN_ENDPOINT"]
    assert client.issuers == ("https://accounts.google.com", "accounts.google.com")
    assert client.scopes == (CALENDAR,)
    assert "hush-hush" not in repr(client)


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["web", "installed"])
def test_client_of_a_secrets_file(
    file_with: Callable[[Any], Path], change: Change, kind: str
) -> None:
    """The file goes before a bare id and secret, and its endpoints count."""
    endpoints = {"auth_uri": "https://a.example/auth", "token_uri": "https://a.example/token"}
    path = file_with({kind: {**WEB, **endpoints}})
    change(
        CLIENTS={"default": {"CLIENT_SECRETS_FILE": path, "CLIENT_ID": "x", "CLIENT_SECRET": "x"}}
    )

    client = get_client()

    assert (client.client_id, client.client_secret.reveal()) == ("id", "hush-hush")
    assert client.authorization_endpoint == "https://a.example/auth"
    assert client.token_endpoint == "https://a.example/token"
    assert client.redirect_uris == ("https://a.example/cb",)


def test_secrets_file_with_googles_first_endpoint_uses_the_current_one(
    file_with: Callable[[Any], Path],
) -> None:
    """Google's console still writes an address of the first version."""
    file_with({"web": {**WEB, "auth_uri": "https://accounts.google.com/o/oauth2/auth"}})

    assert get_client().authorization_endpoint == DEFAULT_ENDPOINTS["AUTHORIZATION_ENDPOINT"]


def test_secrets_file_that_is_replaced_is_read_again(file_with: Callable[[Any], Path]) -> None:
    """A rotated client secret needs no restart, and an unchanged file no second parsing."""
    path = file_with({"web": WEB})
    before = get_client().client_secret

    path.write_text(json.dumps({"web": {**WEB, "client_secret": "a longer new secret"}}))

    assert before.reveal() == "hush-hush"
    assert get_client().client_secret.reveal() == "a longer new secret"


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{not json hush-hush", "not JSON"),
        (b"\xff\xfe", "cannot be used"),
        (b"[" * 50_000, "not JSON"),
        (b" " * 200_000, "200000 bytes"),
        ([WEB], "not an object"),
        ("hush-hush", "not an object"),
        (None, "not an object"),
        ({}, "not an object"),
        ({"web": WEB, "installed": WEB}, "not an object"),
        ({"service_account": WEB}, "'service_account'"),
        ({"type": "service_account", "client_id": "1"}, "belongs in SERVICE_ACCOUNTS"),
        ({"web": ["hush-hush"]}, "is not an object"),
        ({"web": {**WEB, "client_id": ""}}, "client_id is missing"),
        ({"web": {"client_id": "id"}}, "client_secret is missing"),
        ({"web": {**WEB, "client_secret": "[[INSERT SECRET HERE]]"}}, "placeholder"),
        ({"web": {**WEB, "client_secret": ["hush-hush"]}}, "client_secret is missing"),
        ({"web": {**WEB, "redirect_uris": "https://a.example"}}, "not a list"),
        ({"web": {**WEB, "redirect_uris": [1]}}, "not a list"),
    ],
)
def test_secrets_file_that_cannot_be_used_says_why(
    file_with: Callable[[Any], Path], content: Any, says: str
) -> None:
    """One error, readable, without the secret, at run time and as a check."""
    path = file_with(content)

    with pytest.raises(ImproperlyConfigured) as caught:
        get_client()

    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "hush-hush" not in str(caught.value)
    assert "E013" in ids()


@pytest.mark.matrix
@pytest.mark.parametrize("path", ["/nowhere/client_secret.json", "\0", 5.5, ["x"]])
def test_secrets_file_that_is_not_there_says_so(change: Change, path: Any) -> None:
    """Never a bare FileNotFoundError."""
    change(CLIENTS={"default": {"CLIENT_SECRETS_FILE": path}})

    with pytest.raises(ImproperlyConfigured, match=r"cannot be used|There is no secrets file"):
        get_client()


def test_secrets_file_that_is_a_directory_says_so(change: Change, tmp_path: Path) -> None:
    """As any other file that cannot be read."""
    change(CLIENTS={"default": {"CLIENT_SECRETS_FILE": tmp_path}})

    with pytest.raises(ImproperlyConfigured, match="cannot be used"):
        get_client()


@pytest.mark.matrix
@pytest.mark.parametrize(
    "credentials",
    [
        {},
        {"CLIENT_ID": "id"},
        {"CLIENT_SECRET": "hush-hush"},
        {"CLIENT_ID": "", "CLIENT_SECRET": ""},
        {"CLIENT_SECRETS_FILE": "", "CLIENT_ID": "id"},
        {"CLIENT_ID": 5, "CLIENT_SECRET": "hush-hush"},
    ],
)
def test_client_without_credentials_says_so(change: Change, credentials: dict[str, Any]) -> None:
    """Empty strings count as missing."""
    change(CLIENTS={"default": credentials})

    with pytest.raises(ImproperlyConfigured) as caught:
        get_client()

    assert "hush-hush" not in str(caught.value)
    assert "E012" in ids()


def test_client_that_is_not_there_is_named_with_those_that_are(change: Change) -> None:
    """A misspelt client is told from its neighbours."""
    change(CLIENTS={"default": {}, "tenant": {}})

    with pytest.raises(ImproperlyConfigured, match=r"'tennant'.*default, tenant"):
        get_client("tennant")


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("keys", "id"),
    [
        ({"CLIENTS": None}, "E002"),
        ({"CLIENTS": {}}, "E002"),
        ({"CLIENTS": {"": {}}}, "E002"),
        ({"CLIENTS": {5: {}}}, "E002"),
        ({"CLIENTS": {"x" * 101: {}}}, "E002"),
        ({"CLIENTS": {"default": "x"}}, "E002"),
        ({"CLIENTS": {"CLIENT_ID": "x", "CLIENT_SECRET": "y"}}, "E002"),
        ({"ENCRYPTION_KEYS": None}, "E003"),
        ({"ENCRYPTION_KEYS": []}, "E003"),
        ({"ENCRYPTION_KEYS": KEY}, "E003"),
        ({"ENCRYPTION_KEYS": [KEY, ""]}, "E003"),
        ({"ENCRYPTION_KEYS": [KEY, None]}, "E003"),
        ({"ENCRYPTION_KEYS": "no.such.module"}, "E003"),
        ({"ENCRYPTION_KEYS": f"{__name__}.KEY"}, "E003"),
        ({"ENCRYPTION_KEYS": f"{__name__}.hints_of_nothing"}, "E003"),
        ({"ENCRYPTION_KEYS": ["short"]}, "E004"),
        ({"ENCRYPTION_KEYS": ["é" * 44]}, "E004"),
        ({"ENCRYPTION_KEYS": [KEY.encode()]}, "E003"),
        ({"ENCRYPTION_KEYS": [base64.urlsafe_b64encode(os.urandom(16)).decode()]}, "E004"),
        ({"REQUEST_ATTRIBUTE": "a-b"}, "E005"),
        ({"REQUEST_ATTRIBUTE": "user"}, "E005"),
        ({"REQUEST_ATTRIBUTE": 5}, "E005"),
        ({"REQUEST_ATTRIBUTE": "path"}, "E005"),
        ({"REQUEST_ATTRIBUTE": "class"}, "E005"),
        ({"REFRESH_LEEWAY": 224}, "E006"),
        ({"REFRESH_LEEWAY": "300"}, "E006"),
        ({"HTTP_TIMEOUT": 0}, "E007"),
        ({"HTTP_TIMEOUT": True}, "E007"),
        ({"REFRESH_WAIT": 0}, "E031"),
        ({"REFRESH_WAIT": "10"}, "E031"),
        ({"API_TIMEOUT": 0}, "E032"),
        ({"API_TIMEOUT": "60"}, "E032"),
        ({"USER_AGENT": ""}, "E033"),
        ({"USER_AGENT": " "}, "E033"),
        ({"USER_AGENT": "daybook\r\nX: y"}, "E033"),
        ({"USER_AGENT": "größer"}, "E033"),
        ({"USER_AGENT": None}, "E033"),
        ({"HISTORY_DAYS": 0}, "E060"),
        ({"REAUTHENTICATION": "no.such.module"}, "E061"),
        ({"REAUTHENTICATION": f"{__name__}.KEY"}, "E061"),
        ({"REAUTHENTICATION": "asyncio.sleep"}, "E061"),
        ({"HISTORY_DAYS": True}, "E060"),
        ({"HISTORY_DAYS": 1.5}, "E060"),
        ({"HISTORY_DAYS": "30"}, "E060"),
        ({"HISTORY_DAYS": 10**9}, "E060"),
        ({"STATE_MAX_AGE": 5}, "E008"),
        ({"REDIRECT_URL": ""}, "E009"),
        ({"REDIRECT_URL": 5}, "E009"),
        ({"REDIRECT_URL": "no-such-name"}, "E009"),
        ({"CLIENT_RESOLVER": "no.such.module"}, "E010"),
        ({"CLIENT_RESOLVER": 5}, "E010"),
        ({"CLIENT_RESOLVER": f"{__name__}.KEY"}, "E010"),
        ({"SERVICE_ACCOUNTS": []}, "E011"),
        ({"SERVICE_ACCOUNTS": {"reports": "file.json"}}, "E011"),
        ({"ENCRYPTION_KEY": KEY}, "W001"),
        ({"CLIENT_ID": "x"}, "W001"),
    ],
)
def test_setting_that_cannot_work_is_found(change: Change, keys: dict[str, Any], id: str) -> None:
    """Every setting has a check with an id and a hint."""
    change(**keys)

    assert id in ids()
    assert all(message.hint for message in run_checks())


def test_blanks_around_a_key_do_no_harm(change: Change) -> None:
    """A file ends with a line break, and a list in the environment may have blanks."""
    change(ENCRYPTION_KEYS=[f" {KEY}\n"])

    assert ids() == set()


def test_hints_tell_an_empty_key_from_one_of_bytes(change: Change) -> None:
    """The first is a missing environment variable, the second wants to be decoded."""
    for key, words in (("", "environment variable"), (None, "environment"), (b"x", "decode")):
        change(ENCRYPTION_KEYS=[key])

        assert words in " ".join(str(message.hint) for message in run_checks())


def test_hints_say_where_a_key_belongs(change: Change) -> None:
    """A client's key that stands one level too high."""
    change(CLIENT_ID="x")

    hints = " ".join(str(message.hint) for message in run_checks())

    assert 'GOOGLE_LINK["CLIENTS"]["default"]["CLIENT_ID"]' in hints


def test_keys_that_are_not_there_are_found(settings: Settings) -> None:
    """A setting that has only clients."""
    settings.GOOGLE_LINK = {"CLIENTS": settings.GOOGLE_LINK["CLIENTS"]}

    assert "E003" in ids()


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("keys", "id"),
    [
        ({"CLIENT_SECRET": 5}, "E012"),
        ({"SCOPES": 5}, "E014"),
        ({"SCOPES": [5]}, "E014"),
        ({"SCOPES": None}, "E014"),
        *(
            ({"TOKEN_ENDPOINT": url}, "E015")
            for url in (
                "http://oauth2.googleapis.com/token",
                "ftp://a.example",
                "javascript:alert(1)",
                "//a.example",
                "https://",
                "https://a.example/#x",
                "https://user:pass@a.example/",
                "https://a.example/ x",
                "https://a.example/\n",
                "https://[",
                5,
            )
        ),
        ({"AUTHORIZATION_ENDPOINT": "http://a.example"}, "E015"),
        ({"REVOCATION_ENDPOINT": "http://a.example"}, "E015"),
        ({"JWKS_URI": "http://a.example"}, "E015"),
        ({"ISSUER": "http://a.example"}, "E015"),
        ({"API_ENDPOINT": "http://a.example"}, "E015"),
        ({"REDIRECT_URI": "/callback/"}, "E015"),
        ({"HOSTED_DOMAIN": ""}, "E016"),
        ({"HOSTED_DOMAIN": 5}, "E016"),
        ({"HOSTED_DOMAIN": []}, "E016"),
        ({"HOSTED_DOMAIN": ["example.com", 5]}, "E016"),
        ({"HOSTED_DOMAIN": ["example.com", "*"]}, "E016"),
        ({"HOSTED_DOMAIN": "*.example.com"}, "E016"),
        ({"HOSTED_DOMAIN": "example.com, example.org"}, "E016"),
        ({"HOSTED_DOMAIN": "anna@example.com"}, "E016"),
        ({"HOSTED_DOMAIN": "https://example.com"}, "E016"),
        ({"HOSTED_DOMAIN": {"example.com"}}, "E016"),
        ({"AUTHORIZATION_PARAMS": []}, "E017"),
        ({"AUTHORIZATION_PARAMS": {"hl": 5}}, "E017"),
        ({"AUTHORIZATION_PARAMS": {"state": "x"}}, "E017"),
        ({"AUTHORIZATION_PARAMS": {"prompt": "none"}}, "E017"),
        ({"AUTHORIZATION_PARAMS": {"include_granted_scopes": "false"}}, "E017"),
        ({"INCLUDE_GRANTED_SCOPES": "false"}, "E035"),
        ({"INCLUDE_GRANTED_SCOPES": None}, "E035"),
        ({"SCOPE": [CALENDAR]}, "W001"),
        ({"scopes": [CALENDAR]}, "W001"),
        ({"SCOPES": ["openid calendar.readonly"]}, "W004"),
        ({"SCOPES": [CALENDAR + CALENDAR]}, "W004"),
        ({"SCOPES": [f"{CALENDAR},{CALENDAR}"]}, "W004"),
        ({"REDIRECT_URI": "https://a.example/oauth/callback/"}, "W012"),
    ],
)
def test_client_that_cannot_work_is_found(
    client_with: Change, keys: dict[str, Any], id: str
) -> None:
    """And nothing is guessed."""
    client_with(**keys)

    assert id in ids()


def test_client_on_loopback_may_use_http(client_with: Change) -> None:
    """Emulators on this machine have no certificate."""
    client_with(
        AUTHORIZATION_ENDPOINT="http://127.0.0.1:1/authorize",
        TOKEN_ENDPOINT="http://127.0.0.1:1/token",
        ISSUER="http://localhost:1",
        JWKS_URI="http://[::1]:1/certs",
    )

    assert get_client().issuers == ("http://localhost:1",)


@pytest.mark.matrix
@pytest.mark.parametrize("issuer", ["https://id.example", ["https://id.example"]])
def test_scopes_of_another_provider_are_not_judged(client_with: Change, issuer: Any) -> None:
    """They may look like anything; and what is no address is told as that."""
    client_with(ISSUER=issuer, SCOPES=["read"])

    assert "W004" not in ids()


@pytest.mark.matrix
@pytest.mark.parametrize(
    "scopes", [f"openid {CALENDAR}", ["openid", CALENDAR], ("openid " + CALENDAR,)]
)
def test_scopes_are_never_split_into_letters(client_with: Change, scopes: Any) -> None:
    """A string of scopes is split at its spaces."""
    client_with(SCOPES=scopes)

    assert get_client().scopes == ("openid", CALENDAR)


@pytest.mark.matrix
@pytest.mark.parametrize("value", [None, "x", []])
def test_settings_that_are_missing_say_so(settings: Settings, value: Any) -> None:
    """An error where they are used, not where the package is imported."""
    settings.GOOGLE_LINK = value

    with pytest.raises(ImproperlyConfigured, match="GOOGLE_LINK is missing"):
        get_client()

    assert ids() == {"E001"}


def test_settings_are_read_at_each_use(change: Change) -> None:
    """Nothing is frozen."""
    change(HTTP_TIMEOUT=3)
    before = conf.http_timeout

    change(HTTP_TIMEOUT=4)

    assert (before, conf.http_timeout) == (3, 4)


def test_encryption_keys_of_a_callable_are_unwrapped_once(change: Change) -> None:
    """A key service is asked once per process, however often a token is opened."""
    calls.clear()
    change(ENCRYPTION_KEYS=f"{__name__}.make_keys")

    assert key_ids() == key_ids()
    assert len(calls) <= 1


def test_client_resolver_is_imported(change: Change) -> None:
    """By its dotted path."""
    change(CLIENT_RESOLVER=f"{__name__}.resolve")

    assert conf.client_resolver is resolve
    assert resolve(None) == "default"


def test_unknown_key_is_compared_with_known_ones(change: Change) -> None:
    """Did you mean."""
    change(ENCRYPTION_KEYZ=[KEY], http_timeout=5, XYZZY=1)

    assert "is not a known setting" in hints()
    assert "Did you mean 'ENCRYPTION_KEYS'?" in hints()
    assert "Did you mean 'HTTP_TIMEOUT'?" in hints()
    assert "Remove it." in hints()


def test_clients_without_a_default_are_found(change: Change) -> None:
    """Nobody wants to learn at run time that the one client goes by another name."""
    client = {"CLIENT_ID": "id", "CLIENT_SECRET": "secret"}
    change(CLIENTS={"calendar": client})

    assert "W005" in ids()
    change(CLIENTS={"calendar": client}, CLIENT_RESOLVER=f"{__name__}.resolve")
    assert "W005" not in ids()


def test_key_that_is_the_secret_key_is_found(change: Change, settings: Settings) -> None:
    """One leak must not open both; nor do old secret keys count as others."""
    settings.SECRET_KEY_FALLBACKS = [KEY]

    assert "W002" in ids()
    assert KEY not in hints()


@pytest.mark.matrix
@pytest.mark.parametrize(
    "key", [b"a" * 32, bytes(range(16)) * 2, b"correct horse battery staple 123"]
)
def test_key_that_was_typed_is_found(change: Change, key: bytes) -> None:
    """Thirty-two random bytes neither repeat nor read as text."""
    change(ENCRYPTION_KEYS=[base64.urlsafe_b64encode(key).decode()])

    assert "W003" in ids()


def test_settings_error_tells_what_and_what_to_do() -> None:
    """The run-time error says both; the check has them apart."""
    error = SettingsError("E999", "It is broken.", hint="Mend it.")

    assert str(error) == "It is broken. Mend it."
    assert (error.id, error.message, error.hint) == ("E999", "It is broken.", "Mend it.")


def fail() -> list[str]:
    """Fail, as a key management service may."""
    raise ConnectionError("kms.example, with the token hush-hush")


def test_encryption_keys_of_a_callable_that_fails_say_so(change: Change) -> None:
    """What failed, and not what it said: that may be a secret."""
    change(ENCRYPTION_KEYS=f"{__name__}.fail")

    with pytest.raises(ImproperlyConfigured, match="raised ConnectionError") as error:
        key_ids()

    assert "hush" not in str(error.value)
    assert "E003" in ids()


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("keys", "id"),
    [
        ({"ENCRYPTION_KEYS": SECRET}, "E003"),
        ({"ENCRYPTION_KEYS": {SECRET}}, "E003"),
        ({"ENCRYPTION_KEYS": [SECRET.encode()]}, "E003"),
        ({"CLIENTS": [SECRET]}, "E002"),
        ({"CLIENTS": {"default": SECRET}}, "E002"),
        ({"CLIENTS": {"default": {"CLIENT_ID": "id", "CLIENT_SECRET": SECRET.encode()}}}, "E012"),
        ({"CLIENTS": {"default": {"CLIENT_SECRETS_FILE": f'{{"web": "{SECRET}"}}'}}}, "E013"),
        ({"CLIENTS": {"default": {"CLIENT_SECRETS_FILE": {"web": SECRET}}}}, "E013"),
    ],
)
def test_secret_in_the_wrong_place_is_not_shown(
    settings: Settings, keys: dict[str, Any], id: str
) -> None:
    """Neither in the message nor in a frame, which Django's debug page would show."""
    settings.DEBUG = True
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, **keys}

    with pytest.raises(SettingsError) as caught:
        (key_ids if "ENCRYPTION_KEYS" in keys else get_client)()

    error = caught.value
    assert error.id == id
    assert error.__traceback__
    reporter = ExceptionReporter(
        RequestFactory().get("/"), type(error), error, error.__traceback__.tb_next
    )
    # The settings themselves, and this frame, are not what is looked at.
    page = str(reporter.get_traceback_data()["frames"])
    assert SECRET not in page
    assert SECRET not in str(error)

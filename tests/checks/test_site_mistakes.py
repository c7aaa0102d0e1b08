"""What a site has around the app that keeps it from working, each told with what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.core.checks import run_checks
from django.http import HttpRequest, HttpResponse
from django.urls import include, path, set_script_prefix
from pytest_django import Settings

from django_google_link.conf.clients import get_client
from django_google_link.conf.service_accounts import get_service_account
from django_google_link.exceptions import SettingsError

ID = "123456789012-abc.apps.googleusercontent.com"
SECRET = "GOCSPX-abcdefghijklmnopqrstuvwxyz12"
KEY = "kY3hQ0yJmWc1V7r8b2NnDq5sTz4uXe9fAg6LiPoRwEI="
SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
USERS = "django.contrib.auth.middleware.AuthenticationMiddleware"
CONSENT = "django_google_link.middleware.ConsentRequiredMiddleware"


def login(request: HttpRequest) -> HttpResponse:
    """A page for logging in."""
    raise NotImplementedError


def _make_urls(*own: Any) -> Any:
    return type("urls", (), {"urlpatterns": [path("enter/", login, name="enter"), *own]})


ours = include("django_google_link.urls")
usual = _make_urls(path("google/", ours))
inner = _make_urls(path("site/", include(([path("google/", ours)], "site"))))
several = _make_urls(
    path("google/", ours),
    path("v2/", include([path("links/", include("django_google_link.urls", namespace="links"))])),
)


behind_pages = _make_urls(path("<path:page>", login, name="page"), path("google/", ours))


@pytest.fixture
def site(settings: Settings) -> Settings:
    """A site with nothing wrong."""
    settings.ROOT_URLCONF = usual
    settings.LOGIN_URL = "enter"
    settings.GOOGLE_LINK = {
        "CLIENTS": {"default": {"CLIENT_ID": ID, "CLIENT_SECRET": SECRET}},
        "ENCRYPTION_KEYS": [KEY],
    }
    return settings


@pytest.fixture
def configure_client(site: Settings) -> Callable[..., None]:
    """Change keys of the client."""

    def configure_client(**keys: Any) -> None:
        client = {**site.GOOGLE_LINK["CLIENTS"]["default"], **keys}
        site.GOOGLE_LINK = {**site.GOOGLE_LINK, "CLIENTS": {"default": client}}

    return configure_client


def found(**options: Any) -> dict[str, str]:
    """Return what all checks of ours say, by the number of each message."""
    return {
        (one.id or "")[-4:]: f"{one.msg} {one.hint}"
        for one in run_checks(**options)
        if "google_link" in (one.id or "")
    }


def deployed() -> dict[str, str]:
    """Return what they say where users are, but for what W010 says of a proxy."""
    messages = found(include_deployment_checks=True)
    messages.pop("W010", None)
    return messages


def test_site_with_nothing_wrong(site: Settings) -> None:
    """It is left in peace."""
    assert found() == deployed() == {}


# The settings


@pytest.mark.matrix
@pytest.mark.parametrize(
    "name", ["GOOGLE_LINKS", "GOOGLELINK", "DJANGO_GOOGLE_LINK", "GOOGLE_LINK_SETTINGS"]
)
def test_setting_under_another_name(site: Settings, name: str) -> None:
    """The one that is there is named."""
    setattr(site, name, site.GOOGLE_LINK)
    del site.GOOGLE_LINK

    assert f"There is {name}: rename it to GOOGLE_LINK." in found()["E001"]


def test_setting_that_is_missing(site: Settings) -> None:
    """No other is guessed at."""
    del site.GOOGLE_LINK
    assert "Add GOOGLE_LINK = " in found()["E001"]

    site.GOOGLE_LINKS = {}
    site.GOOGLE_LINK = []
    assert "Add GOOGLE_LINK = " in found()["E001"]


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("GOOGLE_LINK_CLIENTS", 'GOOGLE_LINK["CLIENTS"]'),
        ("GOOGLE_LINK_ENCRYPTION_KEYS", 'GOOGLE_LINK["ENCRYPTION_KEYS"]'),
        ("GOOGLE_LINK_CLIENT_ID", 'GOOGLE_LINK["CLIENTS"]["default"]["CLIENT_ID"]'),
    ],
)
def test_key_beside_the_setting(site: Settings, name: str, place: str) -> None:
    """Other packages have theirs so."""
    setattr(site, name, "x")

    assert found()["W001"] == f"{name} is not a known setting. It belongs in {place}."


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("outer", "keys", "place"),
    [
        ({"CLIENT_ID": ID}, {}, 'GOOGLE_LINK["CLIENTS"]["default"]["CLIENT_ID"]'),
        ({"HOSTED_DOMAIN": "x"}, {}, 'GOOGLE_LINK["CLIENTS"]["default"]["HOSTED_DOMAIN"]'),
        ({"SUBJECTS": []}, {}, 'GOOGLE_LINK["SERVICE_ACCOUNTS"]["…"]["SUBJECTS"]'),
        ({}, {"ENCRYPTION_KEYS": [KEY]}, 'GOOGLE_LINK["ENCRYPTION_KEYS"]'),
        ({}, {"HTTP_TIMEOUT": 3}, 'GOOGLE_LINK["HTTP_TIMEOUT"]'),
        ({}, {"SERVICE_ACCOUNTS": {}}, 'GOOGLE_LINK["SERVICE_ACCOUNTS"]'),
        ({}, {"IMPERSONATE": "x"}, 'GOOGLE_LINK["SERVICE_ACCOUNTS"]["…"]["IMPERSONATE"]'),
        ({}, {"scope": []}, "Did you mean 'SCOPES'?"),
        ({"CLIENT": {}}, {}, "Did you mean 'CLIENTS'?"),
    ],
)
def test_key_at_the_wrong_level(
    site: Settings,
    configure_client: Callable[..., None],
    outer: dict[str, Any],
    keys: dict[str, Any],
    place: str,
) -> None:
    """The message says where it belongs."""
    configure_client(**keys)
    site.GOOGLE_LINK = {**site.GOOGLE_LINK, **outer}

    assert place in found()["W001"]


@pytest.mark.matrix
@pytest.mark.parametrize(
    "clients", [{"CLIENT_ID": ID}, {"SCOPES": []}, {"REDIRECT_URI": "https://www.example.com/"}]
)
def test_client_without_a_name(site: Settings, clients: dict[str, Any]) -> None:
    """It needs one, though it is the only one."""
    site.GOOGLE_LINK = {**site.GOOGLE_LINK, "CLIENTS": clients}

    assert 'Give it a name: {"default": ' in found()["E002"]


async def asynchronous(request: Any) -> str:
    """A function that the app cannot call."""
    raise NotImplementedError


def without_arguments() -> str:
    """A function that takes none."""
    raise NotImplementedError


def with_arguments(request: Any) -> list[str]:
    """A function that needs one."""
    raise NotImplementedError


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("key", "function", "id", "said"),
    [
        ("CLIENT_RESOLVER", asynchronous, "E010", "Use a function without async"),
        ("CLIENT_RESOLVER", without_arguments, "E010", "Write def without_arguments(request):"),
        ("LOGIN_HINT", asynchronous, "E047", "Use a function without async"),
        ("LOGIN_HINT", without_arguments, "E047", "Write def without_arguments(user):"),
        ("REAUTHENTICATION", asynchronous, "E061", "Use a function without async"),
        ("REAUTHENTICATION", without_arguments, "E061", "without_arguments(request):"),
        ("ENCRYPTION_KEYS", with_arguments, "E003", "Write def with_arguments():"),
        ("ENCRYPTION_KEYS", asynchronous, "E003", "Use a function without async"),
    ],
)
def test_function_that_cannot_be_called(
    site: Settings, key: str, function: Any, id: str, said: str
) -> None:
    """It would be a 500 at the first request."""
    site.GOOGLE_LINK = {**site.GOOGLE_LINK, key: f"{__name__}.{function.__name__}"}

    assert said in found()[id]


# The client


@pytest.mark.matrix
@pytest.mark.parametrize(
    "id",
    [
        "your-client-id.apps.googleusercontent.com",
        "MY_CLIENT_ID",
        "insert-client-id-here",
        "${GOOGLE_CLIENT_ID}",
        "{{ client_id }}",
        "None",
        "<CLIENT_ID>",
        "xxx",
    ],
)
def test_placeholder(configure_client: Callable[..., None], id: str) -> None:
    """It was never replaced."""
    configure_client(CLIENT_ID=id)
    assert "CLIENT_ID of the client 'default' is a placeholder." in found()["W017"]

    configure_client(CLIENT_ID=ID, CLIENT_SECRET=id.partition(".")[0])
    assert "CLIENT_SECRET of the client 'default' is a placeholder." in found()["W017"]


@pytest.mark.matrix
@pytest.mark.parametrize("secret", ["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", "hush", SECRET])
def test_secret_that_is_none(configure_client: Callable[..., None], secret: str) -> None:
    """One of Google's may by chance hold what a placeholder holds."""
    configure_client(CLIENT_SECRET=secret)

    assert found() == {}


def test_secret_of_a_manual(configure_client: Callable[..., None]) -> None:
    """One letter again and again is none."""
    configure_client(CLIENT_SECRET="GOCSPX-" + 28 * "x")

    assert set(found()) == {"W017"}


def write_file(path: Path, *uris: str, kind: str = "web") -> Path:
    """Write a secrets file."""
    content = {"client_id": ID, "client_secret": SECRET, "redirect_uris": uris}
    path.write_text(json.dumps({kind: content}))
    return path


def test_file_without_a_redirect_uri(configure_client: Callable[..., None], tmp_path: Path) -> None:
    """Google would refuse every user."""
    file = write_file(tmp_path / "client_secret.json")
    configure_client(CLIENT_SECRETS_FILE=file, CLIENT_ID="", CLIENT_SECRET="")

    assert "respond with redirect_uri_mismatch. Add the address of the callback" in found()["W025"]
    configure_client(REDIRECT_URI="https://daybook.example/google/callback/")
    assert found() == {}


def test_settings_beside_a_file(configure_client: Callable[..., None], tmp_path: Path) -> None:
    """Only one of them counts."""
    uri = "https://testserver/google/callback/"
    configure_client(CLIENT_SECRETS_FILE=write_file(tmp_path / "client_secret.json", uri))

    said = "CLIENT_ID and CLIENT_SECRET of the client 'default' will be ignored"
    assert said in found()["W027"]


@pytest.mark.matrix
@pytest.mark.parametrize("key", ["MEDIA_ROOT", "STATIC_ROOT", "STATICFILES_DIRS"])
def test_file_that_is_served(
    site: Settings, configure_client: Callable[..., None], tmp_path: Path, key: str
) -> None:
    """Everybody could have it."""
    directory = [tmp_path, ("more", tmp_path)] if key == "STATICFILES_DIRS" else tmp_path
    setattr(site, key, directory)
    uri = "https://testserver/google/callback/"
    file = write_file(tmp_path / "client_secret.json", uri)
    configure_client(CLIENT_SECRETS_FILE=file, CLIENT_ID="", CLIENT_SECRET="")
    assert f"The file {file} of the client 'default' is in a directory" in found()["E065"]

    configure_client(CLIENT_SECRETS_FILE=None, CLIENT_ID=ID, CLIENT_SECRET=SECRET)
    accounts = {"reports": {"FILE": str(file)}}
    site.GOOGLE_LINK = {**site.GOOGLE_LINK, "SERVICE_ACCOUNTS": accounts}
    assert "of the service account 'reports'" in found()["E065"]


def test_file_that_is_not_there(
    configure_client: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path leads elsewhere under another server: the message says where it was."""
    monkeypatch.chdir(tmp_path)
    configure_client(CLIENT_SECRETS_FILE="client_secret.json")
    assert f"client_secret.json for the client 'default' (in {tmp_path}, where" in found()["E013"]

    configure_client(CLIENT_SECRETS_FILE=tmp_path / "client_secret.json")
    with pytest.raises(SettingsError, match=r"for the client 'default'[.] "):
        get_client()


@pytest.mark.matrix
@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"\xff\xfe{\0}\0", b" \r\n{}\r\n"],
)
def test_encoding_of_a_file(
    configure_client: Callable[..., None], tmp_path: Path, content: bytes
) -> None:
    """Editors and shells on Windows choose it."""
    uri = "https://testserver/google/callback/"
    text = write_file(tmp_path / "client_secret.json", uri).read_text()
    file = tmp_path / "written.json"
    is_wide = b"\0" in content
    data = b"\xff\xfe" + text.encode("utf-16-le") if is_wide else text.encode()
    file.write_bytes(data if is_wide else content.replace(b"{}", data))
    configure_client(CLIENT_SECRETS_FILE=file, CLIENT_ID="", CLIENT_SECRET="")

    assert found() == {}
    assert get_client().client_id == ID


TOKEN = {"token": "ya29.x", "refresh_token": "1//x", "client_id": ID, "client_secret": SECRET}


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty."),
        (b"\r\n", "it is empty."),
        (b"\xff\xff", "it is not JSON."),
        (
            json.dumps(TOKEN).encode(),
            "it is the token of one user, which can be imported with google_link_im",
        ),
        (b'{"type": "service_account"}', "it is the key of a service account"),
    ],
)
def test_file_that_is_something_else(
    configure_client: Callable[..., None], tmp_path: Path, content: bytes, said: str
) -> None:
    """It is told which."""
    file = tmp_path / "client_secret.json"
    file.write_bytes(content)
    configure_client(CLIENT_SECRETS_FILE=file, CLIENT_ID="", CLIENT_SECRET="")

    assert said in found()["E013"]


def test_number_for_a_file(configure_client: Callable[..., None]) -> None:
    """It would be the number of an open file."""
    configure_client(CLIENT_SECRETS_FILE=3, CLIENT_ID="", CLIENT_SECRET="")

    assert "it is a number, not a path." in found()["E013"]


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"CLIENT_SECRET": ""}, "has a CLIENT_ID, but its CLIENT_SECRET is missing, empty or not"),
        ({"CLIENT_SECRET": None}, "If it comes from an environment variable, check"),
        ({"CLIENT_SECRET": b"hush"}, "its CLIENT_SECRET is missing, empty or not text."),
        ({"CLIENT_ID": None}, "has a CLIENT_SECRET, but its CLIENT_ID is missing"),
        ({"CLIENT_ID": "", "CLIENT_SECRET": ""}, "If they come from environment variables, check"),
    ],
)
def test_variable_that_is_not_set(
    configure_client: Callable[..., None], keys: dict[str, Any], said: str
) -> None:
    """The most usual mistake of all."""
    configure_client(**keys)

    assert said in found()["E012"]


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("domain", "meant"),
    [
        ("@example.com", 'Did you mean "example.com"? '),
        ("anna@example.com", 'Did you mean "example.com"? '),
        ("https://www.Example.com/", 'Did you mean "www.example.com"? '),
        ("example.com,example.org", 'Did you mean ["example.com", "example.org"]? '),
        ("example.com example.org", 'Did you mean ["example.com", "example.org"]? '),
        ("example", " Use a domain such as"),
        ("", " Use a domain such as"),
        ([], " Use a domain such as"),
        ([7], " Use a domain such as"),
        (7, " Use a domain such as"),
    ],
)
def test_domain_that_is_none(
    configure_client: Callable[..., None], domain: Any, meant: str
) -> None:
    """The one that is meant is named."""
    configure_client(HOSTED_DOMAIN=domain)

    assert meant in found()["E016"]


@pytest.mark.matrix
@pytest.mark.parametrize(
    "domain",
    ["Example.COM", " example.com\n", "\ufeffexample.com", ["example.com ", "EXAMPLE.com"]],
)
def test_domain_that_is_written_otherwise(
    configure_client: Callable[..., None], domain: Any
) -> None:
    """It is the same one."""
    configure_client(HOSTED_DOMAIN=domain)

    assert found() == {}
    assert get_client().hosted_domains == ("example.com",)


def test_domain_that_is_only_a_wish(configure_client: Callable[..., None]) -> None:
    """Google does not hold users to it."""
    configure_client(AUTHORIZATION_PARAMS={"hd": "example.com"})

    assert 'Use "HOSTED_DOMAIN": "example.com"' in found()["W036"]


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("https://10.0.0.1/google/callback/", "has an IP address"),
        ("https://daybook/google/callback/", "has no top-level domain"),
        ("https://*.daybook.example/google/callback/", "has a wildcard"),
        ("https://daybook.example/google/callback/", ""),
        ("http://localhost:8000/google/callback/", ""),
    ],
)
def test_redirect_uri_that_google_would_refuse(
    configure_client: Callable[..., None], uri: str, problem: str
) -> None:
    """It cannot be registered."""
    configure_client(REDIRECT_URI=uri)

    assert problem in found().get("E048", "")
    assert bool(problem) == ("E048" in found())


def test_redirect_uri_without_its_slash(configure_client: Callable[..., None]) -> None:
    """Google compares to the letter."""
    configure_client(REDIRECT_URI="https://daybook.example/google/callback")
    assert "Add the trailing slash, here and in the Google console." in found()["W012"]

    configure_client(REDIRECT_URI="https://daybook.example/callback/")
    assert "Use the path under which" in found()["W012"]


def test_page_that_is_relative_to_any(site: Settings) -> None:
    """The slash in front is missing."""
    site.GOOGLE_LINK = {**site.GOOGLE_LINK, "REDIRECT_URL": "accounts/profile/"}

    assert 'which is relative to the current page. Use "/accounts/profile/".' in found()["E009"]


def test_key_that_stands_there_twice(site: Settings) -> None:
    """It was to be another."""
    site.GOOGLE_LINK = {**site.GOOGLE_LINK, "ENCRYPTION_KEYS": [KEY, KEY]}

    assert "Encryption key 2 is the same as key 1." in found()["W035"]


def test_domain_of_no_workspace(configure_client: Callable[..., None]) -> None:
    """Nobody could link."""
    configure_client(HOSTED_DOMAIN="gmail.com")

    assert "Remove it to accept any Google Account." in found()["W026"]


@pytest.mark.matrix
@pytest.mark.parametrize("address", ["anna@example.com", "reports@diary.iam.gserviceaccount.com"])
def test_service_account_that_is_a_user(site: Settings, address: str) -> None:
    """It acts for users, and is none."""
    accounts = {"reports": {"IMPERSONATE": address}}
    site.GOOGLE_LINK = {**site.GOOGLE_LINK, "SERVICE_ACCOUNTS": accounts}

    assert ("W028" in found()) == (address == "anna@example.com")


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"web": {}}, "is the file of an OAuth client, which belongs in CLIENTS"),
        ({"installed": {}}, "is the file of an OAuth client, which belongs in CLIENTS"),
        ({"type": "authorized_user"}, "is the token of one user"),
        (TOKEN, "is the token of one user"),
        ({"type": "gdch_service_account"}, "is of another type"),
        ({"type": "service_account"}, "lacks client_email, private_key, token_uri"),
    ],
)
def test_key_of_a_service_account_that_is_none(
    site: Settings, content: dict[str, Any], said: str
) -> None:
    """It is told what it is."""
    site.GOOGLE_LINK = {**site.GOOGLE_LINK, "SERVICE_ACCOUNTS": {"reports": {"INFO": content}}}

    assert said in found()["E024"]


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("private_key", "read"),
    [
        ("-----BEGIN PRIVATE KEY-----\\nMII\\n", "-----BEGIN PRIVATE KEY-----\nMII\n"),
        ("\n-----BEGIN RSA PRIVATE KEY-----\nMII\n", "\n-----BEGIN RSA PRIVATE KEY-----\nMII\n"),
        ("MIIEvQIBADANBgkq", ""),
        ("/run/secrets/key.pem", ""),
    ],
)
def test_private_key_from_a_variable(site: Settings, private_key: str, read: str) -> None:
    """Line breaks may have become two characters each; what is no key is told."""
    content = {
        "type": "service_account",
        "client_email": "reports@diary.iam.gserviceaccount.com",
        "private_key": private_key,
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    site.GOOGLE_LINK = {**site.GOOGLE_LINK, "SERVICE_ACCOUNTS": {"reports": {"INFO": content}}}

    if not read:
        assert "is not in PEM format." in found()["W037"]
        return
    assert found() == {}
    key = get_service_account("reports").key
    assert key is not None
    assert key["private_key"].reveal() == read


# The site


def test_urls_inside_another_namespace(site: Settings) -> None:
    """The message says where to put them, and not that they are missing."""
    site.ROOT_URLCONF = inner

    assert "inside the namespace 'site', so that their names cannot" in found()["E019"]


def test_urls_that_are_included_twice(site: Settings) -> None:
    """Users come back to one of them."""
    site.ROOT_URLCONF = several

    assert "more than once: google/, v2/links/. Keep one." in found()["W024"]


def test_urls_behind_those_of_any_page(site: Settings) -> None:
    """As in a site of Wagtail's, whose own pattern takes whatever it is given."""
    site.ROOT_URLCONF = behind_pages

    said = found()["W038"]

    assert "/google/callback/ does not lead to django_google_link, but to 'page'" in said


@pytest.mark.matrix
@pytest.mark.parametrize("url", ["/accounts/login/", "no-such-name", "", None, "/enter"])
def test_login_page_that_is_not_there(site: Settings, url: str | None) -> None:
    """A visitor who is not logged in is sent there first."""
    site.LOGIN_URL = url

    assert f"LOGIN_URL is {url or ''!r}, and this site has no page there" in found()["W023"]


@pytest.mark.matrix
@pytest.mark.parametrize(
    "url", ["enter", "/enter/", "/enter/?by=mail", "https://login.example.com/"]
)
def test_login_page_that_is_there(site: Settings, url: str) -> None:
    """Here, or at another site."""
    site.LOGIN_URL = url

    assert found() == {}


@pytest.mark.parametrize("url", ["enter", "/daybook/enter/"])
def test_site_below_a_path(site: Settings, url: str) -> None:
    """``FORCE_SCRIPT_NAME`` stands before what is reversed, and in no URLconf."""
    site.LOGIN_URL = url
    set_script_prefix("/daybook")
    try:
        assert found() == {}
    finally:
        set_script_prefix("/")


def test_login_page_in_each_language(site: Settings) -> None:
    """Django's locale middleware leads there."""
    site.LOGIN_URL = "/enter/"
    site.ROOT_URLCONF = _make_urls(path("google/", ours))
    site.ROOT_URLCONF.urlpatterns = [path("google/", ours), path("de/enter/", login)]

    assert found() == {}


class OwnUsers(AuthenticationMiddleware):
    """A project's own."""


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("middleware", "said"),
    [
        ([USERS, SESSIONS], f"{USERS} comes before {SESSIONS} in MIDDLEWARE"),
        ([f"{__name__}.OwnUsers", SESSIONS], f"{USERS} comes before {SESSIONS} in MIDDLEWARE"),
        ([SESSIONS, CONSENT, USERS], f"{CONSENT} comes before {USERS} in MIDDLEWARE"),
        ([CONSENT, SESSIONS, USERS], f"{CONSENT} comes before {USERS} in MIDDLEWARE"),
        ([SESSIONS, USERS, CONSENT], ""),
        ([SESSIONS, f"{__name__}.OwnUsers"], ""),
    ],
)
def test_order_of_middleware(site: Settings, middleware: list[str], said: str) -> None:
    """Each needs what the one before provides."""
    site.MIDDLEWARE = middleware

    assert said in found().get("E064", "")
    assert bool(said) == ("E064" in found())


# Where users are


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("hosts", "is_found"),
    [(["daybook.example"], False), ([".example"], False), (["*"], False), (["other.test"], True)],
)
@pytest.mark.parametrize("is_in_file", [True, False])
def test_host_that_django_refuses(
    site: Settings,
    configure_client: Callable[..., None],
    tmp_path: Path,
    hosts: list[str],
    is_found: bool,
    is_in_file: bool,
) -> None:
    """Everybody would come back to a 400."""
    site.ALLOWED_HOSTS = hosts
    uri = "https://daybook.example/google/callback/"
    if is_in_file:
        file = write_file(tmp_path / "client_secret.json", "http://localhost/google/callback/", uri)
        configure_client(CLIENT_SECRETS_FILE=file, CLIENT_ID="", CLIENT_SECRET="")
    else:
        configure_client(REDIRECT_URI=uri)

    messages = deployed()

    assert set(messages) == ({"W029"} if is_found else set())
    if is_found:
        assert "Add 'daybook.example' to ALLOWED_HOSTS" in messages["W029"]


@pytest.mark.matrix
@pytest.mark.parametrize("backend", ["locmem.LocMemCache", "dummy.DummyCache", "db.DatabaseCache"])
def test_cache_that_is_not_shared(site: Settings, backend: str) -> None:
    """Sessions in it are lost at the next process, and tokens are asked for by each."""
    site.CACHES = {"default": {"BACKEND": f"django.core.cache.backends.{backend}"}}
    assert deployed() == {}

    site.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    accounts = {"reports": {"IMPERSONATE": "reports@diary.iam.gserviceaccount.com"}}
    site.GOOGLE_LINK = {**site.GOOGLE_LINK, "SERVICE_ACCOUNTS": accounts}
    assert set(deployed()) == (set() if "Database" in backend else {"W030", "W032"})


def test_fake_google_where_users_are(site: Settings) -> None:
    """The kit is for development."""
    site.INSTALLED_APPS = [*site.INSTALLED_APPS, "django_google_link.testing"]

    assert set(deployed()) == {"W031"}
    site.DEBUG = True
    assert "W031" not in deployed()

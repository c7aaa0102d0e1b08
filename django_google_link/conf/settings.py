"""The settings of the app, read from Django on every access and typed here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.module_loading import import_string

from ..secret import Secret, masked

#: google-auth treats a token with less life than this as expired.
MINIMUM_REFRESH_LEEWAY = 225

KEYS = frozenset(
    {
        "CLIENTS",
        "ENCRYPTION_KEYS",
        "REQUEST_ATTRIBUTE",
        "REFRESH_LEEWAY",
        "HTTP_TIMEOUT",
        "STATE_MAX_AGE",
        "REDIRECT_URL",
        "REFRESH_USING",
        "CLIENT_RESOLVER",
        "SERVICE_ACCOUNTS",
    }
)


class SettingsError(ImproperlyConfigured):
    """A setting that cannot work.

    The same error is raised at run time and reported by ``manage.py check``.

    Args:
        id: the number of the system check, ``"E001"``.
        message: what is wrong.
        hint: what to do about it.
    """

    def __init__(self, id: str, message: str, *, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.id = id
        self.message = message
        self.hint = hint


class Settings:
    """``GOOGLE_LINK``, one property for each key.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when a value cannot work.
    """

    @property
    def _dict(self) -> Mapping[str, Any]:
        value = getattr(django_settings, "GOOGLE_LINK", None)
        if not isinstance(value, Mapping):
            raise SettingsError(
                "E001",
                "The setting GOOGLE_LINK is missing or not a dict.",
                hint='Add GOOGLE_LINK = {"CLIENTS": {"default": {...}}, "ENCRYPTION_KEYS": [...]}.',
            )
        return value

    def _get(self, key: str, default: Any = None) -> Any:
        """Return a value in a form that may stand in a frame: Django's debug page shows them."""
        mask = _MASKS.get(key)
        value = self._dict.get(key, default)
        return mask(value) if mask else value

    @property
    def keys(self) -> frozenset[str]:
        """The keys that the project wrote, known or not."""
        return frozenset(map(str, self._dict))

    @property
    def clients(self) -> Mapping[str, Mapping[str, Any]]:
        """The OAuth clients by name, as written; ``clients.py`` reads them."""
        value = self._get("CLIENTS")
        if not isinstance(value, Mapping) or not value:
            raise SettingsError(
                "E002",
                'GOOGLE_LINK["CLIENTS"] is missing, empty or not a dict.',
                hint='Add {"default": {"CLIENT_SECRETS_FILE": "client_secret.json"}}.',
            )
        if not _CREDENTIALS.isdisjoint(value):
            raise SettingsError(
                "E002",
                'GOOGLE_LINK["CLIENTS"] is one client, where clients by name are needed.',
                hint='Give it a name: {"default": {"CLIENT_ID": …}}.',
            )
        for name, client in value.items():
            if (
                not isinstance(name, str)
                or not 0 < len(name) <= 100
                or not isinstance(client, Mapping)
            ):
                raise SettingsError(
                    "E002",
                    f'GOOGLE_LINK["CLIENTS"][{name!r}] is not a dict with a name.',
                    hint="Name it with 1 to 100 characters, and give its settings as a dict.",
                )
        return value

    @property
    def encryption_keys(self) -> tuple[Secret, ...]:
        """The encryption keys as written: the first encrypts, all decrypt."""
        value = self._get("ENCRYPTION_KEYS")
        if isinstance(value, str):
            value = _called_once(value)
        if isinstance(value, Secret):
            raise SettingsError(
                "E003",
                'GOOGLE_LINK["ENCRYPTION_KEYS"] is text, not a list.',
                hint='Put the key into a list: "ENCRYPTION_KEYS": [key].',
            )
        if not isinstance(value, tuple) or not value:
            raise SettingsError(
                "E003",
                'GOOGLE_LINK["ENCRYPTION_KEYS"] is missing, empty or not a list of keys.',
                hint=_KEY_HINT,
            )
        for position, key in enumerate(value, start=1):
            if isinstance(key, Secret) and key:
                continue
            is_empty = key is None or isinstance(key, Secret)
            raise SettingsError(
                "E003",
                f"Encryption key {position} is {'empty' if is_empty else 'not text'}.",
                hint="Is the environment variable set that it comes from?"
                if is_empty
                else "Bytes can be decoded: key.decode().",
            )
        return value

    @property
    def request_attribute(self) -> str:
        """The name of the attribute that the decorators set on the request."""
        value = self._get("REQUEST_ATTRIBUTE", "google")
        if not isinstance(value, str) or not value.isidentifier() or value in {"user", "session"}:
            raise SettingsError(
                "E005",
                f'GOOGLE_LINK["REQUEST_ATTRIBUTE"] is {value!r}, not a free name.',
                hint='Use an identifier such as "google".',
            )
        return value

    @property
    def refresh_leeway(self) -> int:
        """Seconds of life below which an access token is refreshed first."""
        return self._seconds("E006", "REFRESH_LEEWAY", 300, minimum=MINIMUM_REFRESH_LEEWAY)

    @property
    def http_timeout(self) -> int:
        """Seconds that a request to Google's OAuth endpoints may take."""
        return self._seconds("E007", "HTTP_TIMEOUT", 10, minimum=1)

    @property
    def state_max_age(self) -> int:
        """Seconds that a pending authorization lives."""
        return self._seconds("E008", "STATE_MAX_AGE", 600, minimum=30)

    @property
    def redirect_url(self) -> str | None:
        """Where to go when nothing else was said: a URL, a path or a URL name."""
        value = self._get("REDIRECT_URL")
        if value is not None and (not isinstance(value, str) or not value):
            raise SettingsError(
                "E009",
                f'GOOGLE_LINK["REDIRECT_URL"] is {value!r}, not a path or a URL name.',
                hint='Use a path such as "/" or the name of a URL.',
            )
        return value

    @property
    def refresh_using(self) -> str | None:
        """The alias of a second connection to the same database, for refreshes in transactions."""
        value = self._get("REFRESH_USING")
        if value is None:
            return None
        if not isinstance(value, str) or value not in connections.settings:
            raise SettingsError(
                "E022",
                f'GOOGLE_LINK["REFRESH_USING"] is {value!r}, not an alias in DATABASES.',
                hint="Add that alias, with the settings of the database that holds the accounts.",
            )
        if connections.settings[value]["ENGINE"] == "django.db.backends.sqlite3":
            raise SettingsError(
                "E022",
                'GOOGLE_LINK["REFRESH_USING"] names an SQLite database.',
                hint="SQLite lets one connection write at a time: leave the key out.",
            )
        return value

    @property
    def client_resolver(self) -> Callable[[Any], str] | None:
        """The function that names the client of a request, if there is one."""
        path = self._get("CLIENT_RESOLVER")
        if path is None:
            return None
        return _imported("E010", "CLIENT_RESOLVER", path)

    @property
    def service_accounts(self) -> Mapping[str, Mapping[str, Any]]:
        """The service accounts by name, as written."""
        value = self._get("SERVICE_ACCOUNTS", {})
        if not isinstance(value, Mapping) or not all(
            isinstance(name, str) and isinstance(account, Mapping)
            for name, account in value.items()
        ):
            raise SettingsError(
                "E011",
                'GOOGLE_LINK["SERVICE_ACCOUNTS"] is not a dict of dicts.',
                hint='Use {"reports": {"FILE": "service_account.json"}}.',
            )
        return value

    def _seconds(self, id: str, key: str, default: int, *, minimum: int) -> int:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise SettingsError(
                id,
                f'GOOGLE_LINK["{key}"] is {value!r}.',
                hint=f"Use a whole number of seconds, {minimum} or more.",
            )
        return value

    @property
    def auth_user_model(self) -> str:
        """Django's ``AUTH_USER_MODEL``."""
        return django_settings.AUTH_USER_MODEL

    @property
    def has_urls(self) -> bool:
        """Whether there is a ``ROOT_URLCONF``: a worker may do without."""
        return bool(getattr(django_settings, "ROOT_URLCONF", None))

    @property
    def middleware(self) -> Sequence[str]:
        """Django's ``MIDDLEWARE``."""
        return django_settings.MIDDLEWARE

    @property
    def session_cookie_is_strict(self) -> bool:
        """Whether browsers keep Django's session cookie to themselves on the way from Google."""
        return str(django_settings.SESSION_COOKIE_SAMESITE).lower() == "strict"

    @property
    def session_cookie_name(self) -> str:
        """Django's ``SESSION_COOKIE_NAME``."""
        return django_settings.SESSION_COOKIE_NAME

    @property
    def secure_proxy_ssl_header(self) -> tuple[str, str] | None:
        """Django's ``SECURE_PROXY_SSL_HEADER``."""
        return django_settings.SECURE_PROXY_SSL_HEADER

    @property
    def debug(self) -> bool:
        """Django's ``DEBUG``."""
        return django_settings.DEBUG

    @property
    def secret_keys(self) -> tuple[str, ...]:
        """Django's ``SECRET_KEY`` and its fallbacks."""
        keys = (django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS)
        return tuple(map(str, keys))


_CREDENTIALS = frozenset({"CLIENT_ID", "CLIENT_SECRET", "CLIENT_SECRETS_FILE"})
_KEY_HINT = (
    "Make a key with: python -c "
    '"import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())" '
    "and keep it outside the code, for example in an environment variable."
)


def _imported(id: str, key: str, path: object) -> Callable[..., Any]:
    try:
        function: Callable[..., Any] | None = import_string(path) if isinstance(path, str) else None
    except ImportError as error:
        raise SettingsError(
            id,
            f'GOOGLE_LINK["{key}"] cannot be imported: {error}.',
            hint="Correct the dotted path.",
        ) from error
    if not callable(function):
        raise SettingsError(
            id,
            f'GOOGLE_LINK["{key}"] does not name a function.',
            hint='Use the dotted path of a callable, such as "mysite.google.resolve".',
        )
    return function


@cache
def _called_once(path: str) -> Any:
    """Call a function once per process: it may unwrap keys over the network."""
    unwrap = _imported("E003", "ENCRYPTION_KEYS", path)
    try:
        return _masked_keys(unwrap())
    except Exception as error:
        raise SettingsError(
            "E003",
            f"{path}, which should return the encryption keys, fails with {type(error).__name__}.",
            hint="See what it needs; it is called again at the next use.",
        ) from error


def _masked_keys(keys: Any) -> Any:
    if isinstance(keys, str):
        return keys if _DOTTED_PATH.fullmatch(keys) else Secret(keys)
    if not isinstance(keys, list | tuple):
        return None
    # Of what is neither text nor missing no more is told than that.
    return tuple(
        Secret(key) if isinstance(key, str) else None if key is None else ... for key in keys
    )


def _masked_clients(clients: Any) -> Any:
    if not isinstance(clients, Mapping):
        return None
    return {name: _masked_client(client) for name, client in clients.items()}


def _masked_client(client: Any) -> Any:
    if not isinstance(client, Mapping):
        return None
    client = masked(client, "CLIENT_SECRET")
    if isinstance(client.get("CLIENT_SECRET"), bytes):
        client["CLIENT_SECRET"] = None
    return _masked_path("CLIENT_SECRETS_FILE", client)


def _masked_service_accounts(accounts: Any) -> Any:
    if not isinstance(accounts, Mapping):
        return None
    return {name: _masked_service_account(account) for name, account in accounts.items()}


def _masked_service_account(account: Any) -> Any:
    if not isinstance(account, Mapping):
        return None
    account = masked(_masked_path("FILE", account), "INFO")
    if isinstance(account.get("INFO"), Mapping):
        account["INFO"] = masked(account["INFO"], "private_key")
    return account


def _masked_path(key: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Hide what stands where a path should: the content of the file, by mistake."""
    value = settings.get(key)
    is_content = isinstance(value, Mapping) or (isinstance(value, str) and "{" in value)
    return {**settings, key: Secret(str(value))} if is_content else settings


_DOTTED_PATH = re.compile(r"[\w]+(\.[\w]+)+")

# Frames stand on Django's debug page: what might be a secret in them is one, or is left out.
_MASKS = {
    "CLIENTS": _masked_clients,
    "ENCRYPTION_KEYS": _masked_keys,
    "SERVICE_ACCOUNTS": _masked_service_accounts,
}

conf = Settings()

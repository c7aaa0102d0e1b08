"""The settings of the app, read on every access, validated and typed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from functools import partial
from typing import Any

from django.conf import settings as django_settings
from django.db import connections

from ..exceptions import SettingsError
from ..scopes import parse_scopes
from ..secret import Secret
from .implied_scopes import IMPLIED_SCOPES
from .masking import mask_keys, mask_setting
from .shared_call import SharedCall
from .validators import (
    import_function,
    is_endpoint,
    read_or_default,
    read_seconds,
    read_time_limit,
)

#: google-auth considers a token expired this many seconds before its expiry.
MINIMUM_REFRESH_LEEWAY = 225

KEYS = frozenset(
    {
        "CLIENTS",
        "ENCRYPTION_KEYS",
        "ENCRYPTION_SITE",
        "KEY_SERVICES",
        "REQUEST_ATTRIBUTE",
        "REFRESH_LEEWAY",
        "HTTP_TIMEOUT",
        "REFRESH_WAIT",
        "API_TIMEOUT",
        "USER_AGENT",
        "STATE_MAX_AGE",
        "REDIRECT_URL",
        "REFRESH_USING",
        "CLIENT_RESOLVER",
        "SERVICE_ACCOUNTS",
        "IMPLIED_SCOPES",
        "HISTORY_DAYS",
        "REAUTHENTICATION",
        "LOGIN_HINT",
        "SECURITY_EVENTS_URL",
    }
)


class Settings:
    """``GOOGLE_LINK``, with a property for each key.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) if a value is invalid.
    """

    @property
    def _google_link(self) -> Mapping[str, Any]:
        value = getattr(django_settings, "GOOGLE_LINK", None)
        if not isinstance(value, Mapping):
            raise SettingsError(
                "E001",
                "The setting GOOGLE_LINK is missing or not a dict.",
                hint=_suggest_name(value)
                or 'Add GOOGLE_LINK = {"CLIENTS": {"default": {...}}, "ENCRYPTION_KEYS": [...]}.',
            )
        return value

    def _get(self, key: str, default: Any = None) -> Any:
        """Return a value with its secrets hidden, since error reports show local variables."""
        return mask_setting(key, self._google_link.get(key, default))

    @property
    def keys(self) -> frozenset[str]:
        """The keys in the project's settings, known or not."""
        return frozenset(map(str, self._google_link))

    @property
    def clients(self) -> Mapping[str, Mapping[str, Any]]:
        """The OAuth clients by name, as written; see ``get_client()`` for validated ones."""
        value = self._get("CLIENTS")
        if not isinstance(value, Mapping) or not value:
            raise SettingsError(
                "E002",
                'GOOGLE_LINK["CLIENTS"] is missing, empty or not a dict.',
                hint='Add {"default": {"CLIENT_SECRETS_FILE": "client_secret.json"}}.',
            )
        if not _CLIENT_KEYS.isdisjoint(value):
            raise SettingsError(
                "E002",
                'GOOGLE_LINK["CLIENTS"] is a single client, not a dict of clients by name.',
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
                    hint="Use a name of 1 to 100 characters, with the client's settings as a dict.",
                )
        return value

    @property
    def encryption_keys(self) -> tuple[Secret, ...]:
        """The encryption keys as written: the first one encrypts, all of them decrypt."""
        value = self._get("ENCRYPTION_KEYS")
        if isinstance(value, str):
            value = _find_key_function(value).get(limit=self.http_timeout)
        if isinstance(value, Secret):
            raise SettingsError(
                "E003",
                'GOOGLE_LINK["ENCRYPTION_KEYS"] is text, not a list.',
                hint='Put the key in a list: "ENCRYPTION_KEYS": [key].',
            )
        return _read_keys(value)

    def reread_encryption_keys(self, check: Callable[[tuple[Secret, ...]], object]) -> None:
        """Call the function that ``ENCRYPTION_KEYS`` names again, but not too often.

        Does nothing if the keys are written in the settings.

        Args:
            check: raises a ``SettingsError`` if the new keys must not replace the present ones.

        Raises:
            SettingsError: (an ``ImproperlyConfigured``) if it fails; the keys do not change then.
        """
        value = self._get("ENCRYPTION_KEYS")
        if isinstance(value, str):
            _find_key_function(value).renew(
                limit=self.http_timeout, check=lambda keys: check(_read_keys(keys))
            )

    @property
    def encryption_site(self) -> str | None:
        """The name of this site for key services, which is bound to each wrapped key."""
        value = self._get("ENCRYPTION_SITE")
        if value is None or (isinstance(value, str) and _SITE.fullmatch(value)):
            return value
        raise SettingsError(
            "E070",
            f'GOOGLE_LINK["ENCRYPTION_SITE"] is {value!r}, not the name of a site.',
            hint=SITE_HINT,
        )

    @property
    def key_services(self) -> Mapping[str, str]:
        """The dotted path of the class of each key service, by name."""
        value = self._get("KEY_SERVICES", {})
        if isinstance(value, Mapping) and all(map(_is_key_service, value.items())):
            return {**KEY_SERVICES, **value}
        raise SettingsError(
            "E071",
            'GOOGLE_LINK["KEY_SERVICES"] is not a dict of dotted paths.',
            hint='Use {"vault": "mysite.keys.Vault"}: a name consists of lowercase letters, digits '
            "and hyphens.",
        )

    @property
    def request_attribute(self) -> str:
        """The name of the attribute that the decorators set on the request."""
        value = self._get("REQUEST_ATTRIBUTE", "google")
        if not isinstance(value, str) or not value.isidentifier() or value in {"user", "session"}:
            raise SettingsError(
                "E005",
                f'GOOGLE_LINK["REQUEST_ATTRIBUTE"] is {value!r}, which cannot be used.',
                hint='Use an identifier such as "google".',
            )
        return value

    @property
    def refresh_leeway(self) -> int:
        """How many seconds before its expiry an access token is refreshed."""
        return read_seconds(
            self._get("REFRESH_LEEWAY", 300),
            id="E006",
            key="REFRESH_LEEWAY",
            minimum=MINIMUM_REFRESH_LEEWAY,
        )

    @property
    def http_timeout(self) -> float:
        """The time limit of a request to an OAuth endpoint, in seconds."""
        value = self._get("HTTP_TIMEOUT", 10)
        return read_time_limit(value, id="E007", key="HTTP_TIMEOUT", minimum=0.1)

    @property
    def refresh_wait(self) -> float:
        """How many seconds a caller without a token waits for another caller's refresh."""
        value = self._get("REFRESH_WAIT", 10)
        return read_time_limit(value, id="E031", key="REFRESH_WAIT", minimum=0.1)

    @property
    def api_timeout(self) -> float:
        """How many seconds a request to a Google API waits for more of the response."""
        value = self._get("API_TIMEOUT", 60)
        return read_time_limit(value, id="E032", key="API_TIMEOUT", minimum=0.1)

    @property
    def user_agent(self) -> str:
        """The ``User-Agent`` header of requests to Google."""
        value = self._get("USER_AGENT", "django-google-link")
        if not isinstance(value, str) or not value.strip() or not _is_printable_ascii(value):
            raise SettingsError(
                "E033",
                f'GOOGLE_LINK["USER_AGENT"] is {value!r}, which is not valid in a header.',
                hint='Use the name of your site and its version: "daybook/2.1".',
            )
        return value

    @property
    def state_max_age(self) -> int:
        """How many seconds a pending authorization is valid."""
        return read_seconds(
            self._get("STATE_MAX_AGE", 600), id="E008", key="STATE_MAX_AGE", minimum=30
        )

    @property
    def redirect_url(self) -> str | None:
        """Where users go by default afterwards: a URL, a path or a URL name."""
        value = self._get("REDIRECT_URL")
        if value is not None and (not isinstance(value, str) or not value):
            raise SettingsError(
                "E009",
                f'GOOGLE_LINK["REDIRECT_URL"] is {value!r}, not a path or a URL name.',
                hint='Use a path such as "/", or the name of a URL.',
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
                hint="Add that alias, with the settings of the database that stores the accounts.",
            )
        if connections.settings[value]["ENGINE"] == "django.db.backends.sqlite3":
            raise SettingsError(
                "E022",
                'GOOGLE_LINK["REFRESH_USING"] names an SQLite database.',
                hint="SQLite allows one writer at a time: remove the key.",
            )
        return value

    @property
    def client_resolver(self) -> Callable[[Any], str] | None:
        """The function that returns the name of the client for a request, if there is one."""
        path = self._get("CLIENT_RESOLVER")
        if path is None:
            return None
        return import_function(path, id="E010", key="CLIENT_RESOLVER")

    @property
    def login_hint(self) -> Callable[[Any], str | None] | None:
        """The function that returns a user's e-mail address or ``sub`` at Google, if any."""
        path = self._get("LOGIN_HINT")
        if path is None:
            return None
        return import_function(path, id="E047", key="LOGIN_HINT", arguments="user")

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

    @property
    def implied_scopes(self) -> Mapping[str, tuple[str, ...]]:
        """The scopes that each scope implies: the built-in table, with the project's changes."""
        value = self._get("IMPLIED_SCOPES", {})
        if value == {}:
            return IMPLIED_SCOPES
        with suppress(AttributeError, TypeError, ValueError):
            return {**IMPLIED_SCOPES, **dict(map(_read_implied, value.items()))}
        raise SettingsError(
            "E034",
            f'GOOGLE_LINK["IMPLIED_SCOPES"] is {value!r}, not a dict of lists of scopes.',
            hint='Use {"https://…/auth/books": ["https://…/auth/books.readonly"]}, with an empty '
            "list for a scope that implies none.",
        )

    @property
    def reauthentication(self) -> Callable[[Any], Any] | None:
        """The function that makes users authenticate again, if there is one."""
        path = self._get("REAUTHENTICATION")
        if path is None:
            return None
        return import_function(path, id="E061", key="REAUTHENTICATION")

    @property
    def security_events_url(self) -> str | None:
        """The address at which Google sends security events, as registered, or ``None``."""
        value = self._get("SECURITY_EVENTS_URL")
        if value is None or (isinstance(value, str) and is_endpoint(value)):
            return value
        raise SettingsError(
            "E050",
            f'GOOGLE_LINK["SECURITY_EVENTS_URL"] is {value!r}, not an https address.',
            hint='Use the public address of the receiver, such as "https://www.example.com/google/'
            'security-events/", or remove it.',
        )

    @property
    def history_days(self) -> int | None:
        """For how many days the history of links is kept; ``None`` means forever."""
        value: int | None = self._get("HISTORY_DAYS", 730)
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if value is None or (is_number and 1 <= value <= _MOST_DAYS):
            return value
        raise SettingsError(
            "E060",
            f'GOOGLE_LINK["HISTORY_DAYS"] is {value!r}.',
            hint="Use a whole number of days, 1 or more, or None to keep the history forever.",
        )


#: A century, since databases cannot store dates before the year 1.
_MOST_DAYS = 36_500
#: The key services that need no setting.
KEY_SERVICES = {
    "aws-kms": "django_google_link.contrib.aws_kms.AWSKeyService",
    "google-kms": "django_google_link.contrib.google_kms.GoogleKeyService",
}
KEY_SERVICE_NAME = "[a-z][a-z0-9-]*"
SITE_HINT = (
    "Use a name that no other site of yours has and that will not change, such as "
    '"www.example.com": at most 100 letters, digits and ._:/@- are allowed.'
)
_SITE = re.compile(r"[A-Za-z0-9._:/@-]{1,100}")
_CLIENT_KEYS = frozenset(
    {"CLIENT_ID", "CLIENT_SECRET", "CLIENT_SECRETS_FILE", "REDIRECT_URI", "SCOPES"}
)
_KEY_HINT = (
    "Generate a key with: python -c "
    '"import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())" '
    "and keep it outside the code, for example in an environment variable."
)


def _suggest_name(value: Any) -> str:
    """Suggest a setting that may be a misspelling of ``GOOGLE_LINK``, if that is missing."""
    if value is not None:
        return ""
    names = list_setting_names()
    close = [name for name in names if "GOOGLELINK" in name.replace("_", "")]
    close += get_close_matches("GOOGLE_LINK", names, n=1, cutoff=0.85)
    close = [name for name in close if isinstance(getattr(django_settings, name), Mapping)]
    return f"There is {close[0]}: rename it to GOOGLE_LINK." if close else ""


def list_setting_names() -> list[str]:
    """Return the names of all settings, including Django's."""
    return [name for name in dir(django_settings) if name.isupper()]


def _read_implied(item: tuple[Any, Any]) -> tuple[str, tuple[str, ...]]:
    """Return an item of ``IMPLIED_SCOPES``; the value has to be a list, not a string."""
    [scope], narrow = parse_scopes([item[0]]), item[1]
    if isinstance(narrow, str):
        raise TypeError
    return scope, parse_scopes(narrow)


def _is_printable_ascii(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _read_keys(value: Any) -> tuple[Secret, ...]:
    """Return encryption keys as written, if all of them are strings."""
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
            hint="If it comes from an environment variable, check that this is set."
            if is_empty
            else "Decode bytes: key.decode().",
        )
    return value


def _is_key_service(item: tuple[Any, Any]) -> bool:
    name, path = item
    is_name = isinstance(name, str) and re.fullmatch(KEY_SERVICE_NAME, name)
    return bool(is_name) and isinstance(path, str) and "." in path


def _find_key_function(path: str) -> SharedCall[Any]:
    """Return the ``SharedCall`` of a function that returns the keys: one per process."""
    known = _key_functions.get(path)
    return known or _key_functions.setdefault(
        path,
        SharedCall(
            partial(_call_key_function, path),
            explain=partial(_explain_key_function, path),
            subject=path,
        ),
    )


_key_functions: dict[str, SharedCall[Any]] = {}


def forget_key_functions() -> None:
    """Discard the encryption keys that functions have returned. For tests."""
    _key_functions.clear()


def _call_key_function(path: str) -> Any:
    return mask_keys(import_function(path, id="E003", key="ENCRYPTION_KEYS", arguments="")())


def _explain_key_function(path: str, error: BaseException) -> SettingsError:
    """Return an error without the original message, which may contain a secret."""
    return SettingsError(
        "E003",
        f"{path}, which should return the encryption keys, raised {type(error).__name__}.",
        hint="Correct the cause; the function is called again the next time a key is needed.",
    )


def list_configured_clients() -> list[str]:
    """Return the names of the clients; none if the setting is invalid."""
    return sorted(read_or_default(lambda: conf.clients, {}))


conf = Settings()

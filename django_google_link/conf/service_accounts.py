"""Service accounts, which act for the site itself or, with delegation, for users of a domain."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.views.decorators.debug import sensitive_variables

from ..exceptions import SettingsError, SubjectNotAllowedError
from ..secret import Secret
from .json_file import explain_failure, read_json_file
from .settings import conf
from .validators import read_optional_url, read_url

SOURCES = ("FILE", "INFO", "IMPERSONATE", "DEFAULT_CREDENTIALS")
KEYS = frozenset({*SOURCES, "SUBJECTS", "API_ENDPOINT"})

# No character that Google could interpret differently from the comparison with SUBJECTS.
_ADDRESS = re.compile(r"[!-?A-~]+@[!-?A-~]+")


@dataclass(frozen=True)
class ServiceAccount:
    """A service account, to be passed as the owner to the functions of ``services``.

    Args:
        name: a key of ``GOOGLE_LINK["SERVICE_ACCOUNTS"]``.
        subject: the e-mail address of a user to impersonate, with domain-wide delegation; it must
            be in the account's ``SUBJECTS``.
    """

    name: str
    subject: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class ServiceAccountSettings:
    """A service account in the settings, validated."""

    name: str
    #: The content of a key file, in which the private key is a ``Secret``; ``None`` without one.
    key: Mapping[str, Any] | None = field(repr=False)
    impersonate: str
    subjects: frozenset[str]
    api_endpoint: str | None

    @property
    def principal(self) -> str:
        """The e-mail address of the service account, if the settings contain it."""
        return self.impersonate or (self.key or {}).get("client_email", "")

    @property
    def token_uri(self) -> str:
        """The token endpoint at which the key is used; empty without a key."""
        return str((self.key or {}).get("token_uri", ""))

    def admit_subject(self, subject: str | None) -> str:
        """Return the subject as sent to Google, or an empty string if there is none.

        Raises:
            SubjectNotAllowedError: if ``SUBJECTS`` contains neither the address nor its domain, or
                it is not an e-mail address.
        """
        if subject is None:
            return ""
        address = subject.lower()
        is_listed = self.subjects.intersection({address, f"@{address.rpartition('@')[2]}"})
        if not is_listed or not _ADDRESS.fullmatch(subject):
            raise SubjectNotAllowedError(self.name)
        return address


def get_service_account(name: str) -> ServiceAccountSettings:
    """Return the configured service account of that name.

    Args:
        name: a key of ``GOOGLE_LINK["SERVICE_ACCOUNTS"]``.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) if it is missing or invalid.
    """
    accounts = conf.service_accounts
    if name not in accounts:
        raise SettingsError(
            "E011",
            f"There is no service account {name!r}.",
            hint='Add it to GOOGLE_LINK["SERVICE_ACCOUNTS"]. Known service accounts: '
            f"{', '.join(sorted(accounts)) or 'none'}.",
        )
    settings = accounts[name]
    sources = [source for source in SOURCES if settings.get(source)]
    if len(sources) != 1:
        raise SettingsError(
            "E023",
            f"The service account {name!r} has {' and '.join(sources) or 'no credentials'}.",
            hint=f"Set exactly one of {', '.join(SOURCES)}.",
        )
    return ServiceAccountSettings(
        name=name,
        key=_read_key(name, settings),
        impersonate=_read_address(name, settings.get("IMPERSONATE")),
        subjects=_read_subjects(name, settings.get("SUBJECTS", ())),
        api_endpoint=read_optional_url(settings, key="API_ENDPOINT", owner=_describe_account(name)),
    )


def _read_key(name: str, settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    path = settings.get("FILE")
    content: Any = _read_file(name, path) if path else settings.get("INFO")
    if content is None:
        return None
    if isinstance(content, Mapping) and content.get("type") == "external_account":
        raise SettingsError(
            "E024",
            f"The key of the service account {name!r} is a configuration for workload identity "
            "federation.",
            hint="Set GOOGLE_APPLICATION_CREDENTIALS to that file, and IMPERSONATE to the address "
            "of the account instead of FILE or INFO.",
        )
    problem = _find_problem(content)
    if problem:
        raise SettingsError(
            "E024",
            f"The key of the service account {name!r} {problem}.",
            hint="Use the JSON file that Google's console offers for a service account key.",
        )
    read_url(content["token_uri"], key="token_uri", owner=_describe_account(name))
    return {**content, "private_key": Secret(_read_private_key(content))}


def _find_problem(content: Any) -> str:
    if isinstance(content, Secret):
        return "is text: read it with json.loads"
    if not isinstance(content, Mapping):
        return "is not an object"
    if content.get("type") != "service_account":
        return _describe_other(content)
    needed = ("client_email", "private_key", "token_uri")
    missing = [key for key in needed if not isinstance(content.get(key), str | Secret)]
    return f"lacks {', '.join(missing)}" if missing else ""


def _describe_other(content: Mapping[str, Any]) -> str:
    if "web" in content or "installed" in content:
        return "is the file of an OAuth client, which belongs in CLIENTS"
    if content.get("type") == "authorized_user" or "refresh_token" in content:
        return "is the token of one user"
    return "is of another type"


@sensitive_variables()
def _read_private_key(content: Mapping[str, Any]) -> str:
    """Return the private key with line breaks.

    In an environment variable or a YAML file they may be written as a backslash and an ``n``.
    """
    key = content["private_key"]
    return (key.reveal() if isinstance(key, Secret) else str(key)).replace("\\n", "\n")


def _read_file(name: str, path: Any) -> Any:
    if isinstance(path, Secret):
        raise SettingsError(
            "E024",
            f"FILE of the service account {name!r} is the content of a file, not a path.",
            hint="Use the path of the file, or INFO with its content as a dict.",
        )
    try:
        return read_json_file(path)
    except (OSError, TypeError, ValueError) as error:
        raise SettingsError(
            "E024",
            f"The key file {path} of the service account {name!r} cannot be used: "
            f"{explain_failure(error)}.",
            hint="Save the JSON file from Google's console there, or correct the path.",
        ) from None


def _read_address(name: str, value: Any) -> str:
    if not value:
        return ""
    if isinstance(value, str) and "@" in value:
        return value
    raise SettingsError(
        "E023",
        f"IMPERSONATE of the service account {name!r} is {value!r}.",
        hint="Use its address, reports@project.iam.gserviceaccount.com.",
    )


def _read_subjects(name: str, value: Any) -> frozenset[str]:
    if not isinstance(value, list | tuple | set | frozenset) or not all(
        isinstance(subject, str) and "@" in subject for subject in value
    ):
        raise SettingsError(
            "E025",
            f"SUBJECTS of the service account {name!r} is not a list of addresses.",
            hint='Use ["anna@example.com"], or ["@example.com"] for all users of the domain.',
        )
    return frozenset(subject.lower() for subject in value)


def _describe_account(name: str) -> str:
    return f"the service account {name!r}"

"""Readers of the settings of one client in ``CLIENTS``.

Each function returns the value of one setting, or raises a ``SettingsError`` naming the client.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from django.views.decorators.debug import sensitive_variables

from ..exceptions import SettingsError
from ..scopes import parse_scopes
from ..secret import Secret
from .json_file import explain_failure
from .secrets_file import read_secrets_file
from .validators import strip_invisible

#: Parameters that the flow itself sets: overriding them would break it or its security.
RESERVED_PARAMS = frozenset(
    {
        "client_id",
        "client_secret",
        "code_challenge",
        "code_challenge_method",
        "include_granted_scopes",
        "nonce",
        "redirect_uri",
        "response_mode",
        "response_type",
        "scope",
        "state",
    }
)

#: The length of the columns that store the client id and the issuer of each token.
_MAX_LENGTH = 255

#: The value of ``HOSTED_DOMAIN`` that accepts accounts of any Google Workspace domain.
ANY_DOMAIN = ("*",)
_DOMAIN = re.compile(r"[^\s@*/,:.]+(\.[^\s@*/,:.]+)+")


def read_credentials(name: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the mapping with the client id and secret: its secrets file, or its settings."""
    path = settings.get("CLIENT_SECRETS_FILE")
    if path:
        return _read_file(name, path)
    if settings.get("CLIENT_ID") and settings.get("CLIENT_SECRET"):
        return settings
    known = [key for key in ("CLIENT_ID", "CLIENT_SECRET") if settings.get(key)]
    if not known:
        raise SettingsError(
            "E012",
            f"The client {name!r} has no credentials.",
            hint="Set CLIENT_SECRETS_FILE, or both CLIENT_ID and CLIENT_SECRET. If they come from "
            "environment variables, check that these are set.",
        )
    missing = "CLIENT_SECRET" if known == ["CLIENT_ID"] else "CLIENT_ID"
    raise SettingsError(
        "E012",
        f"The client {name!r} has a {known[0]}, but its {missing} is missing, empty or not text.",
        hint="If it comes from an environment variable, check that this is set.",
    )


def read_client_id(name: str, value: Any) -> str:
    """Return ``CLIENT_ID``, which is stored with each link."""
    if not isinstance(value, str):
        raise SettingsError(
            "E012",
            f"CLIENT_ID of the client {name!r} is not a string.",
            hint="Use a string.",
        )
    return require_storable(name, "CLIENT_ID", _read_visible(name, "CLIENT_ID", value))


def require_storable(name: str, key: str, value: str) -> str:
    """Reject a value that is longer than its column: databases would raise or truncate."""
    if len(value) <= _MAX_LENGTH:
        return value
    raise SettingsError(
        "E012",
        f"{key} of the client {name!r} is longer than {_MAX_LENGTH} characters.",
        hint="Copy it again: it is stored with each link.",
    )


def read_secret(name: str, value: Any) -> Secret:
    """Return ``CLIENT_SECRET``, which became a ``Secret`` when the settings were read."""
    if isinstance(value, Secret):
        return Secret(_read_visible(name, "CLIENT_SECRET", value.reveal()))
    raise SettingsError(
        "E012",
        f"CLIENT_SECRET of the client {name!r} is not a string.",
        hint="Use a string.",
    )


@sensitive_variables()
def _read_visible(name: str, key: str, value: str) -> str:
    """Return a value without invisible characters around it; reject those within it."""
    value = strip_invisible(value)
    if value.isprintable():
        return value
    position = next(n for n, character in enumerate(value) if not character.isprintable())
    raise SettingsError(
        "E012",
        f"{key} of the client {name!r} has the character U+{ord(value[position]):04X} at "
        f"position {position + 1}.",
        hint="This character is invisible: copy the value again.",
    )


def read_scopes(name: str, value: Any) -> tuple[str, ...]:
    """Return ``SCOPES``, given as a string or a list of strings."""
    try:
        return parse_scopes(value)
    except TypeError:
        raise SettingsError(
            "E014",
            f"SCOPES of the client {name!r} is not a list of scopes.",
            hint='Use ["https://www.googleapis.com/auth/calendar.readonly"].',
        ) from None


def read_hosted_domains(name: str, value: Any) -> tuple[str, ...]:
    """Return ``HOSTED_DOMAIN``: the accepted values of the ``hd`` claim, or ``ANY_DOMAIN``.

    An empty tuple accepts every account, including those outside Google Workspace.
    """
    if value is None:
        return ()
    if value == "*":
        return ANY_DOMAIN
    domains = [value] if isinstance(value, str) else value
    if isinstance(domains, list | tuple) and all(isinstance(item, str) for item in domains):
        domains = [strip_invisible(domain).lower() for domain in domains]
        if domains and all(map(_DOMAIN.fullmatch, domains)):
            return tuple(dict.fromkeys(domains))
    raise SettingsError(
        "E016",
        f"HOSTED_DOMAIN of the client {name!r} is {value!r}.",
        hint=f'{_suggest_domains(value)}Use a domain such as "example.com", a list of them, or '
        '"*" for any Google Workspace domain; or remove it.',
    )


def _suggest_domains(value: Any) -> str:
    """Return a suggestion for a value that contains an e-mail address, a URL or several domains."""
    parts = re.split(r"[,;\s]+", value.lower()) if isinstance(value, str) else []
    names = [re.sub(r"^(https?://|.*@)+|[/:].*$", "", part) for part in parts]
    domains = [name for name in names if _DOMAIN.fullmatch(name)]
    if not domains:
        return ""
    meant = f'"{domains[0]}"' if len(domains) == 1 else str(domains).replace("'", '"')
    return f"Did you mean {meant}? "


def read_params(name: str, value: Any) -> Mapping[str, str]:
    """Return ``AUTHORIZATION_PARAMS``. Reject parameters that the flow sets itself."""
    if not isinstance(value, Mapping) or not all(
        isinstance(key, str) and isinstance(item, str) for key, item in value.items()
    ):
        raise SettingsError(
            "E017",
            f"AUTHORIZATION_PARAMS of the client {name!r} is not a dict of strings.",
            hint='Use a dict such as {"hl": "de"}.',
        )
    reserved = sorted(RESERVED_PARAMS.intersection(value))
    if reserved:
        raise SettingsError(
            "E017",
            f"AUTHORIZATION_PARAMS of the client {name!r} sets {', '.join(reserved)}.",
            hint="Remove them: the flow sets them itself, include_granted_scopes according to "
            "INCLUDE_GRANTED_SCOPES.",
        )
    if "none" in value.get("prompt", "").split():
        raise SettingsError(
            "E017",
            f"AUTHORIZATION_PARAMS of the client {name!r} does not allow asking for consent.",
            hint='Remove "none" from prompt.',
        )
    return value


def read_include_granted_scopes(name: str, value: Any) -> bool:
    """Return ``INCLUDE_GRANTED_SCOPES``."""
    if isinstance(value, bool):
        return value
    raise SettingsError(
        "E035",
        f"INCLUDE_GRANTED_SCOPES of the client {name!r} is {value!r}.",
        hint="Use True or False.",
    )


def describe_client(name: str) -> str:
    """Return how error messages refer to a client."""
    return f"the client {name!r}"


def _read_file(name: str, path: Any) -> Mapping[str, Any]:
    if isinstance(path, Secret):
        raise SettingsError(
            "E013",
            f"CLIENT_SECRETS_FILE of the client {name!r} is the content of a file, not a path.",
            hint="Use the path of the file, or CLIENT_ID and CLIENT_SECRET.",
        )
    try:
        return read_secrets_file(path)
    except FileNotFoundError:
        raise SettingsError(
            "E013",
            f"There is no secrets file {path} for the client {name!r}{_say_where(path)}.",
            hint="Save the JSON file from the Google console there, or correct the path.",
        ) from None
    except (OSError, TypeError, ValueError) as error:
        raise SettingsError(
            "E013",
            f"The secrets file {path} of the client {name!r} cannot be used: "
            f"{explain_failure(error)}.",
            hint="Download the JSON file again from the Google console: "
            'Clients, the client of type "Web application", download button.',
        ) from None


def _say_where(path: Any) -> str:
    """Return, for a relative path, the directory from which it is resolved."""
    if os.path.isabs(path):
        return ""
    return f" (in {os.getcwd()}, where this process was started)"

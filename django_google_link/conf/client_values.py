"""The values of one client in ``CLIENTS``, each read into what it stands for.

Each function returns what it reads, and raises a ``SettingsError`` that names the client.
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

#: What the flow itself sets: overriding these would break it or its protection.
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

#: What the columns hold that say whose a token is.
_MAX_LENGTH = 255

#: What ``HOSTED_DOMAIN`` is read into where accounts of any Workspace will do.
ANY_DOMAIN = ("*",)
_DOMAIN = re.compile(r"[^\s@*/,:.]+(\.[^\s@*/,:.]+)+")


def read_credentials(name: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return where the client id and secret are: its secrets file, or its own settings."""
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
            hint="Give it CLIENT_SECRETS_FILE, or both CLIENT_ID and CLIENT_SECRET. Are the "
            "environment variables set that they come from?",
        )
    missing = "CLIENT_SECRET" if known == ["CLIENT_ID"] else "CLIENT_ID"
    raise SettingsError(
        "E012",
        f"The client {name!r} has a {known[0]}, and its {missing} is missing, empty or not text.",
        hint="Is the environment variable set that it comes from?",
    )


def read_client_id(name: str, value: Any) -> str:
    """Return ``CLIENT_ID``, which each link stores."""
    if not isinstance(value, str):
        raise SettingsError(
            "E012",
            f"CLIENT_ID of the client {name!r} is not a string.",
            hint="Use a string.",
        )
    return require_storable(name, "CLIENT_ID", _read_visible(name, "CLIENT_ID", value))


def require_storable(name: str, key: str, value: str) -> str:
    """Refuse what is longer than its column: databases would refuse the link, or cut it off."""
    if len(value) <= _MAX_LENGTH:
        return value
    raise SettingsError(
        "E012",
        f"{key} of the client {name!r} is longer than {_MAX_LENGTH} characters.",
        hint="Copy it again: each link stores it.",
    )


def read_secret(name: str, value: Any) -> Secret:
    """Return ``CLIENT_SECRET``, which was wrapped when the settings were read."""
    if isinstance(value, Secret):
        return Secret(_read_visible(name, "CLIENT_SECRET", value.reveal()))
    raise SettingsError(
        "E012",
        f"CLIENT_SECRET of the client {name!r} is not a string.",
        hint="Use a string.",
    )


@sensitive_variables()
def _read_visible(name: str, key: str, value: str) -> str:
    """Return a value without what cannot be seen around it. Within it nobody would find that."""
    value = strip_invisible(value)
    if value.isprintable():
        return value
    position = next(n for n, character in enumerate(value) if not character.isprintable())
    raise SettingsError(
        "E012",
        f"{key} of the client {name!r} has the character U+{ord(value[position]):04X} at "
        f"position {position + 1}.",
        hint="It cannot be seen: copy the value again.",
    )


def read_scopes(name: str, value: Any) -> tuple[str, ...]:
    """Return ``SCOPES``, given as text or as a list."""
    try:
        return parse_scopes(value)
    except TypeError:
        raise SettingsError(
            "E014",
            f"SCOPES of the client {name!r} is not a list of scopes.",
            hint='Use ["https://www.googleapis.com/auth/calendar.readonly"].',
        ) from None


def read_hosted_domains(name: str, value: Any) -> tuple[str, ...]:
    """Return ``HOSTED_DOMAIN``, the values of ``hd`` that ID tokens may have; ``"*"`` is any.

    Empty, where accounts need not be of a Workspace.
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
        '"*" for any Workspace; or leave it out.',
    )


def _suggest_domains(value: Any) -> str:
    """Return which domains are meant by an address, or by several in one text."""
    parts = re.split(r"[,;\s]+", value.lower()) if isinstance(value, str) else []
    names = [re.sub(r"^(https?://|.*@)+|[/:].*$", "", part) for part in parts]
    domains = [name for name in names if _DOMAIN.fullmatch(name)]
    if not domains:
        return ""
    meant = f'"{domains[0]}"' if len(domains) == 1 else str(domains).replace("'", '"')
    return f"Did you mean {meant}? "


def read_params(name: str, value: Any) -> Mapping[str, str]:
    """Return ``AUTHORIZATION_PARAMS``, none of which the flow sets itself."""
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
            hint="Leave these out: the flow sets them itself, include_granted_scopes as "
            "INCLUDE_GRANTED_SCOPES says.",
        )
    if "none" in value.get("prompt", "").split():
        raise SettingsError(
            "E017",
            f"AUTHORIZATION_PARAMS of the client {name!r} forbids to ask for consent.",
            hint='Leave "none" out of prompt.',
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
    """Return how messages speak of a client."""
    return f"the client {name!r}"


def _read_file(name: str, path: Any) -> Mapping[str, Any]:
    if isinstance(path, Secret):
        raise SettingsError(
            "E013",
            f"CLIENT_SECRETS_FILE of the client {name!r} is the content of a file.",
            hint="Give the path of the file, or CLIENT_ID and CLIENT_SECRET.",
        )
    try:
        return read_secrets_file(path)
    except FileNotFoundError:
        raise SettingsError(
            "E013",
            f"There is no secrets file {path} for the client {name!r}{_say_where(path)}.",
            hint="Put the JSON file from the Google console there, or correct the path.",
        ) from None
    except (OSError, TypeError, ValueError) as error:
        raise SettingsError(
            "E013",
            f"The secrets file {path} of the client {name!r} cannot be used: "
            f"{explain_failure(error)}.",
            hint="Download the JSON file again from the Google console: "
            'Clients, the client of type "Web application", its download button.',
        ) from None


def _say_where(path: Any) -> str:
    """Return where a relative path leads to: it depends on where the process was started."""
    if os.path.isabs(path):
        return ""
    return f" (in {os.getcwd()}, where this process was started)"

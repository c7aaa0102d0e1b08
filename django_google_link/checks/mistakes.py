"""What can be read and looks wrong: values that were mixed up, and scopes that are misspelt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any

from django.core.checks import CheckMessage, Tags, register
from django.views.decorators.debug import sensitive_variables

from ..conf.clients import OAuthClient, get_client
from ..conf.scope_classes import KNOWN_SCOPES
from ..conf.settings import conf
from ..conf.validators import read_or_default
from ..scopes import IDENTITY_SCOPES, PREFIX
from .messages import warning

#: Those that OpenID Connect defines; all of Google's are addresses.
_SHORT_SCOPES = frozenset({*IDENTITY_SCOPES, "address", "offline_access", "phone"})

_CONSOLE = 'Copy both from the Google console: Clients, the client of type "Web application".'

_PLACEHOLDER = r"(?i)(your|the)(?![a-z])|.*(<|>|\.\.\.|xxx|example|placeholder|change.?me)"

#: Of a client id and a client secret, what they are not.
_ID_MISTAKES = (
    (r"GOCSPX-", "is a client secret"),
    (r"AIza", "is an API key"),
    (r"https?:", "is an address"),
    (r".*@", "is an e-mail address"),
    (
        r"(?i)(your|the)(?![a-z])|.*(<|>|\.\.\.|xxx|example|placeholder|change.?me)",
        "is a placeholder",
    ),
)
_SECRET_MISTAKES = (
    (r".*\.apps\.googleusercontent\.com$", "is a client id"),
    (r"AIza", "is an API key"),
    (
        r"(?i)(your|the)(?![a-z])|.*(<|>|\.\.\.|xxx|example|placeholder|change.?me)",
        "is a placeholder",
    ),
)


@register(Tags.security)
def check_mistakes(**kwargs: Any) -> list[CheckMessage]:
    """Check what only a reader would notice."""
    clients: Mapping[str, Any] = read_or_default(lambda: conf.clients, {})
    messages: list[CheckMessage] = []
    for name in clients:
        client = read_or_default(partial(get_client, name), None)
        if client is not None:
            for check in (_check_credentials, _check_scopes, _check_params):
                messages += check(client)
    return messages


@sensitive_variables()
def _check_credentials(client: OAuthClient) -> Iterator[CheckMessage]:
    if not client.is_google or client.api_endpoint:
        return
    what = _describe(client.client_id, _ID_MISTAKES)
    if not what and not client.client_id.endswith(".apps.googleusercontent.com"):
        what = "does not end with .apps.googleusercontent.com"
    if what:
        yield _warn_of(client, "CLIENT_ID", what)
    what = _describe(client.client_secret.reveal(), _SECRET_MISTAKES)
    if what:
        yield _warn_of(client, "CLIENT_SECRET", what)


def _describe(value: str, mistakes: tuple[tuple[str, str], ...]) -> str:
    return next((what for pattern, what in mistakes if re.match(pattern, value)), "")


def _warn_of(client: OAuthClient, key: str, what: str) -> CheckMessage:
    return warning("W017", f"{key} of the client {client.name!r} {what}.", hint=_CONSOLE)


def _check_params(client: OAuthClient) -> Iterator[CheckMessage]:
    """Find what was right for the libraries of ten years ago."""
    if not client.is_google:
        return
    params = client.authorization_params
    if "approval_prompt" in params or params.get("access_type", "offline") != "offline":
        yield warning(
            "W018",
            f"AUTHORIZATION_PARAMS of the client {client.name!r} bring no refresh token.",
            hint="Leave approval_prompt and access_type out: Google takes prompt today, and access "
            "is asked for that lasts.",
        )


def _check_scopes(client: OAuthClient) -> Iterator[CheckMessage]:
    if not client.is_google:
        return
    for scope in client.scopes:
        is_short = "://" not in scope and scope not in _SHORT_SCOPES
        if is_short or scope.count("://") > 1 or "," in scope:
            yield _warn_of_scope(client, scope, "is no scope")
        elif scope not in KNOWN_SCOPES and _suggest_scope(scope):
            yield _warn_of_scope(client, scope, "is not a scope of Google's that is known here")


def _warn_of_scope(client: OAuthClient, scope: str, what: str) -> CheckMessage:
    meant = _suggest_scope(scope)
    return warning(
        "W004",
        f"The client {client.name!r} asks for {scope!r}, which {what}.",
        hint=f"Did you mean {meant}?"
        if meant
        else f"Write each in full, as an item of its own, such as {PREFIX}calendar.readonly.",
    )


def _suggest_scope(scope: str) -> str:
    """Return the known scope of which one that is not known looks like a misspelling, if any does.

    There are far more scopes than are known: another one, with further words, is none of them.
    """
    words = re.sub(r"^https?://www\.googleapis\.com/auth/", "", scope).rstrip("/").split(".")
    for known in sorted(KNOWN_SCOPES):
        expected = known.removeprefix(PREFIX).split(".")
        if len(words) == len(expected) and all(map(_is_meant, words, expected)):
            return known
    return ""


def _is_meant(word: str, expected: str) -> bool:
    return word == expected or bool(get_close_matches(word, [expected], cutoff=0.8))

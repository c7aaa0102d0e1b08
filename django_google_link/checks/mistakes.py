"""What can be read and looks wrong: values that were mixed up, and scopes that are misspelt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from django.core.checks import CheckMessage, Tags, register
from django.views.decorators.debug import sensitive_variables

from ..conf.clients import OAuthClient, get_client
from ..conf.scope_spelling import find_scope_mistake, find_scope_suspicion
from ..conf.settings import conf
from ..conf.validators import read_or_default
from .messages import warning

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
    for scope in client.scopes:
        problem = find_scope_mistake(scope, is_google=client.is_google)
        if not problem and client.is_google:
            problem = find_scope_suspicion(scope)
        if problem:
            what, _, hint = problem.partition(". ")
            yield warning("W004", f"SCOPES of the client {client.name!r}: {what}.", hint=hint)

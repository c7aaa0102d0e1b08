"""Checks of values that are valid but look wrong: mixed-up credentials, misspelt scopes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from django.core.checks import CheckMessage
from django.views.decorators.debug import sensitive_variables

from ..conf.clients import OAuthClient, list_clients
from ..conf.django import django_conf
from ..conf.scope_spelling import find_scope_mistake, find_scope_suspicion
from ..conf.service_accounts import ServiceAccountSettings, get_service_account
from ..conf.settings import conf
from ..conf.validators import is_loopback, read_or_default
from ..secret import Secret
from .front_ends import find_problem
from .messages import error, warning

_CONSOLE = 'Copy both from the Google console: Clients, the client of type "Web application".'

_PLACEHOLDER = (
    r"(?i:(your|the|insert|enter|put|replace|todo|fixme|dummy|none|null|undefined)(?![a-z])"
    r"|.*(<|>|\.\.\.|…|xxx|example|placeholder|change.?me|\$\{|\{\{|client_?id|client_secret))"
)
#: A secret that Google has generated: it may contain "xxx" by chance.
_GENUINE = r"GOCSPX-(?!.*(.)\1{5})[\w-]{28}$"

#: What a client id or a client secret was mixed up with.
_ID_MISTAKES = (
    (r"GOCSPX-", "is a client secret"),
    (r"AIza", "is an API key"),
    (r"https?:", "is an address"),
    (r".*@", "is an e-mail address"),
    (_PLACEHOLDER, "is a placeholder"),
)
_SECRET_MISTAKES = (
    (r".*\.apps\.googleusercontent\.com$", "is a client id"),
    (r"AIza", "is an API key"),
    (rf"(?!{_GENUINE})({_PLACEHOLDER})", "is a placeholder"),
)

#: Domains of consumer accounts, whose ID tokens have no ``hd`` claim.
_CONSUMER_DOMAINS = frozenset({"gmail.com", "googlemail.com"})


def check_mistakes(**kwargs: Any) -> list[CheckMessage]:
    """Check for values that are valid but cannot be intended."""
    return [
        *(
            message
            for client in list_clients()
            for check in _CLIENT_CHECKS
            for message in check(client)
        ),
        *_check_files(),
        *_check_service_accounts(),
    ]


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
    """Find parameters that prevent a refresh token, or do not restrict what they seem to."""
    if not client.is_google:
        return
    params = client.authorization_params
    if "approval_prompt" in params or params.get("access_type", "offline") != "offline":
        yield warning(
            "W018",
            f"AUTHORIZATION_PARAMS of the client {client.name!r} prevents Google from issuing a "
            "refresh token.",
            hint="Remove approval_prompt and access_type: prompt has replaced the former, and "
            "offline access is always requested.",
        )
    if "hd" in params:
        yield warning(
            "W036",
            f"AUTHORIZATION_PARAMS of the client {client.name!r} has hd, which is only a hint to "
            "Google: accounts of other domains can be linked.",
            hint=f'Use "HOSTED_DOMAIN": "{params["hd"]}", which is sent as hd and verified.',
        )


def _check_scopes(client: OAuthClient) -> Iterator[CheckMessage]:
    for scope in client.scopes:
        problem = find_scope_mistake(scope, is_google=client.is_google)
        if not problem and client.is_google:
            problem = find_scope_suspicion(scope)
        if problem:
            what, _, hint = problem.partition(". ")
            yield warning("W004", f"SCOPES of the client {client.name!r}: {what}.", hint=hint)


def _check_redirect_uris(client: OAuthClient) -> Iterator[CheckMessage]:
    if client.type == "web" and not client.redirect_uris and not client.redirect_uri:
        yield warning(
            "W025",
            f"The secrets file of the client {client.name!r} lists no redirect URI: Google will "
            "respond with redirect_uri_mismatch.",
            hint="Add the address of the callback to the client in the Google console, such as "
            "http://localhost:8000/google/callback/, and download the file again.",
        )


def _check_redirect_uri(client: OAuthClient) -> Iterator[CheckMessage]:
    """Find a redirect URI that cannot be registered in the Google console."""
    uri = client.redirect_uri
    if not uri or not client.is_google or is_loopback(client.token_endpoint):
        return
    if problem := find_problem(uri):
        yield error(
            "E048",
            f"{uri!r} in REDIRECT_URI of the client {client.name!r} {problem}: Google does not "
            "accept it.",
            hint="Use an https address with a domain, exactly as registered at Google; http is "
            "allowed for localhost only.",
        )


def _check_domains(client: OAuthClient) -> Iterator[CheckMessage]:
    for domain in _CONSUMER_DOMAINS.intersection(client.hosted_domains):
        yield warning(
            "W026",
            f"HOSTED_DOMAIN of the client {client.name!r} is {domain}, which matches no account: "
            "hosted domains are those of Google Workspace.",
            hint="Remove it to accept any Google Account.",
        )


def _check_files() -> Iterator[CheckMessage]:
    """Find secrets in a directory that is served, and credentials that are ignored."""
    clients: Mapping[str, Any] = read_or_default(lambda: conf.clients, {})
    accounts: Mapping[str, Any] = read_or_default(lambda: conf.service_accounts, {})
    paths = [
        (f"the client {name!r}", item.get("CLIENT_SECRETS_FILE")) for name, item in clients.items()
    ]
    paths += [
        (f"the service account {name!r}", item.get("FILE")) for name, item in accounts.items()
    ]
    for owner, path in paths:
        if isinstance(path, str | os.PathLike) and _is_public(path):
            yield error(
                "E065",
                f"The file {path} of {owner} is in a directory that is publicly served.",
                hint="Move it out of MEDIA_ROOT, STATIC_ROOT and STATICFILES_DIRS, and create a "
                "new secret in the Google console if the site was public.",
            )
    for name, settings in clients.items():
        beside = [key for key in ("CLIENT_ID", "CLIENT_SECRET") if settings.get(key)]
        if settings.get("CLIENT_SECRETS_FILE") and beside:
            yield warning(
                "W027",
                f"{' and '.join(beside)} of the client {name!r} will be ignored: it has a "
                "CLIENT_SECRETS_FILE.",
                hint="Remove one or the other.",
            )


def _is_public(path: str | os.PathLike[str]) -> bool:
    real = os.path.realpath(path)
    return any(
        os.path.commonpath([real, directory]) == directory
        for directory in django_conf.public_directories
    )


def _check_service_accounts() -> Iterator[CheckMessage]:
    for name in read_or_default(lambda: conf.service_accounts, {}):
        account = read_or_default(partial(get_service_account, name), None)
        if account is not None:
            yield from _check_principal(account)
            yield from _check_private_key(account)


def _check_principal(account: ServiceAccountSettings) -> Iterator[CheckMessage]:
    address = account.impersonate
    if address and not address.endswith("gserviceaccount.com"):
        yield warning(
            "W028",
            f"IMPERSONATE of the service account {account.name!r} is {address}, which is not the "
            "address of a service account.",
            hint="Use the service account's address, …iam.gserviceaccount.com. The users whom it "
            "impersonates belong in SUBJECTS.",
        )


@sensitive_variables()
def _check_private_key(account: ServiceAccountSettings) -> Iterator[CheckMessage]:
    key = (account.key or {}).get("private_key")
    if isinstance(key, Secret) and not key.reveal().lstrip().startswith("-----BEGIN "):
        yield warning(
            "W037",
            f"The private_key of the service account {account.name!r} is not in PEM format.",
            hint='Copy it from Google\'s file, from "-----BEGIN PRIVATE KEY-----" on.',
        )


_CLIENT_CHECKS = (
    _check_credentials,
    _check_scopes,
    _check_params,
    _check_redirect_uri,
    _check_redirect_uris,
    _check_domains,
)

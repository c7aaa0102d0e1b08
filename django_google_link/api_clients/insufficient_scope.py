"""Interpreting an API's 403: insufficient scope, or something else."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard

from django.db import connections, router

from ..accounts.database_errors import DATABASE_FAILURES
from ..accounts.tenants import acting_for
from ..accounts.threads import run_outside_event_loop
from ..exceptions import MissingScopesError
from ..models import GoogleAccount

if TYPE_CHECKING:
    from .credentials import AccountCredentials, ServiceAccountCredentials

logger = logging.getLogger("django_google_link")

_CHALLENGE = re.compile(r'(?:^|[\s,])error\s*=\s*"?insufficient_scope(?:["\s,]|$)', re.IGNORECASE)
_ERROR_INFO = "google.rpc.ErrorInfo"
_MESSAGE = "Request had insufficient authentication scopes"


def says_insufficient_scope(status: int, headers: Mapping[str, str], body: bytes) -> bool:
    """Return whether an API rejected a request because the token lacks a scope.

    It is a 403 that says so in its challenge (RFC 6750 section 3.1), in a ``google.rpc.ErrorInfo``
    (https://cloud.google.com/apis/design/errors), or, in older APIs, with
    ``insufficientPermissions``. Some of these also use that reason when the user may not access
    something; their message then does not mention scopes. Quota, sharing and disabled APIs have
    other reasons.

    Args:
        status: the status of the response.
        headers: the headers of the response, in any case.
        body: the decompressed body of the response.
    """
    if status != 403:
        return False
    if any(
        name.lower() == "www-authenticate" and _CHALLENGE.search(str(value))
        for name, value in headers.items()
    ):
        return True
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return False
    # A streaming response is an array that ends with the error.
    for item in document if isinstance(document, list) else [document]:
        # An untranslated gRPC status is not nested in "error".
        error = item.get("error", item) if isinstance(item, dict) else None
        if error == "insufficient_scope" or (isinstance(error, dict) and _names_scope(error)):
            return True
    return False


def refuse_insufficient_scope(
    credentials: AccountCredentials | ServiceAccountCredentials | None,
    status: int,
    headers: Mapping[str, str],
    read_body: Callable[[], bytes],
) -> None:
    """Raise an error that sends the user to consent if a response reports insufficient scope.

    If all declared scopes are granted, consent would not help: the response is then returned as it
    is, and the log says what to do.

    Args:
        credentials: the credentials of the call, if they are ours.
        status: the status of the response.
        headers: the headers of the response.
        read_body: returns the body; called only for a 403.

    Raises:
        MissingScopesError: when a declared scope is not granted.
    """
    if status != 403 or not _is_linked(credentials):
        return
    if not says_insufficient_scope(status, headers, read_body()):
        return
    # Some clients make requests in the thread of an event loop.
    account = run_outside_event_loop(partial(_find_account, credentials))
    if account is None:
        return
    missing = account.missing_scopes(*credentials.declared_scopes(account))
    if missing:
        raise MissingScopesError(missing_scopes=missing, account=account)
    logger.warning(
        "An API requires a scope for the account %s that was not declared: add it to "
        "the scopes of the view or the call.",
        account.pk,
    )


def _is_linked(
    credentials: AccountCredentials | ServiceAccountCredentials | None,
) -> TypeGuard[AccountCredentials]:
    # Checking its class would import google-auth.
    return hasattr(credentials, "declared_scopes")


def _names_scope(error: Mapping[str, Any]) -> bool:
    if _MESSAGE in str(error.get("message", "")):
        return True
    details, errors = error.get("details"), error.get("errors")
    return any(map(_is_scope_detail, details if isinstance(details, list) else ())) or any(
        map(_is_scope_error, errors if isinstance(errors, list) else ())
    )


def _is_scope_detail(detail: Any) -> bool:
    return (
        isinstance(detail, dict)
        and str(detail.get("@type", "")).endswith(_ERROR_INFO)
        and detail.get("reason") == "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
    )


def _is_scope_error(error: Any) -> bool:
    if not isinstance(error, dict) or error.get("reason") != "insufficientPermissions":
        return False
    message = str(error.get("message", "")).lower()
    return not message or message.startswith("insufficient permission") or "scope" in message


def _find_account(credentials: AccountCredentials) -> GoogleAccount | None:
    """Return the account as it is stored now: more may have been granted since."""
    rows = GoogleAccount.objects.using(router.db_for_write(GoogleAccount))
    with (
        _closing_new_connection(rows.db),
        acting_for(credentials.tenants),
        suppress(*DATABASE_FAILURES),
    ):
        return rows.filter(pk=credentials.account_id).first()
    return None


@contextmanager
def _closing_new_connection(using: str) -> Iterator[None]:
    """Close a connection that was opened in this block, possibly in a thread of a client's own."""
    connection = connections[using]
    came_without = connection.connection is None
    try:
        yield
    finally:
        if came_without:
            connection.close()

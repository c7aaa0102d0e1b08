"""Tickets: pending authorizations that a front end keeps, in place of a session.

A ticket is sealed for its user, as tokens are: a front end can neither read nor change it. It is
valid for as long as a ``state``, and once; spent tickets are remembered along with the states.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import asdict, dataclass, replace
from typing import Any

from django.db import router
from django.utils.crypto import constant_time_compare
from django.views.decorators.debug import sensitive_variables

from ..conf.clients import get_client
from ..conf.front_ends import MOBILE, REDIRECT
from ..conf.settings import conf
from ..encryption import keyring
from ..encryption.format import Binding
from ..exceptions import KeyServiceError, StateError, TokenDecryptionError
from ..models import GoogleAccount
from ..secret import Secret
from .authorization_requests import PendingAuthorization
from .spent_states import await_location, digest_state, finish_state, spend_state
from .tenants import name_tenant

# Part of every ticket's binding: never change it.
_PURPOSE = "front_end.ticket"

#: Characters: a ticket contains each scope twice, and a site may request more than a hundred.
LONGEST_TICKET = 32_768

_WRITTEN = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """The contents of a ticket.

    Args:
        id: identifies the ticket once it has been spent.
        mode: the front end's mode: one of ``conf.front_ends.MODES``.
        pending: the pending authorization.
        state_digest: the digest of the ``state`` of the response; empty if the mode has none.
        origin: the origin of the page that runs Google's script, in that mode.
    """

    id: str
    mode: str
    pending: PendingAuthorization
    state_digest: str = ""
    origin: str = ""

    @property
    def arrives_at(self) -> str:
        """The URL or origin at which the response must arrive (RFC 9700 section 4.4)."""
        return self.pending.redirect_uri if self.mode == REDIRECT else self.origin

    def check_state(self, state: str) -> None:
        """Check that a response belongs to this ticket.

        Raises:
            StateError: when its ``state`` differs.
        """
        if self.mode == MOBILE:
            return  # Google's SDKs have none.
        if not constant_time_compare(digest_state(state), self.state_digest):
            raise StateError("The state does not belong to this ticket.", reason="state_mismatch")

    def check_address(self, address: str) -> None:
        """Check where the response arrived.

        Raises:
            StateError: when it arrived at another URL than the redirect URI.
        """
        # Google's script delivers the code to the page itself, which may or may not report its
        # origin.
        is_optional = self.mode != REDIRECT and not (self.origin and address)
        if address != self.arrives_at and not is_optional:
            raise StateError(
                f"The response arrived at {address[:200]!r} instead of {self.arrives_at!r}.",
                reason="redirect_uri_mismatch",
            )

    def spend(self) -> bool:
        """Mark the ticket as spent, in a transaction of its own.

        Returns:
            Whether it had not been spent before.

        Raises:
            RuntimeError: inside the caller's transaction.
        """
        owner, client = self.pending.user, self.pending.client
        return spend_state(self._key, owner=owner, client=client, durable=True)

    def finish(self, *, account: str, declined: frozenset[str]) -> None:
        """Record the outcome: the account, if any, and the scopes that the user did not grant."""
        finish_state(self._key, location=account, declined=declined)

    def await_account(self) -> str:
        """Return the id of the account that the first use led to; empty if there is none."""
        return await_location(self._key, owner=self.pending.user)

    @property
    def _key(self) -> str:
        return f"ticket:{self.id}"


@sensitive_variables()
def issue_ticket(pending: PendingAuthorization, *, mode: str, origin: str = "") -> tuple[str, str]:
    """Seal a pending authorization for its user's front end.

    Args:
        pending: the pending authorization.
        mode: the front end's mode.
        origin: the origin of the page that runs Google's script.

    Returns:
        The ticket, and the ``state`` to send; empty if the mode has none.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    client, id = get_client(pending.client), secrets.token_urlsafe(16)
    state = "" if mode == MOBILE else secrets.token_urlsafe(32)
    content = {
        "mode": mode,
        "origin": origin,
        "state_digest": digest_state(state) if state else "",
        "issuer": client.issuer,
        "client_id": client.client_id,
        "pending": asdict(pending),
    }
    sealed = keyring.seal(Secret(json.dumps(content)), _bind(id, pending.user))
    return f"{id}.{sealed}", state


@sensitive_variables()
def open_ticket(text: str, *, user: str) -> Ticket:
    """Open a ticket and check that it is still valid; whether it was spent is not checked.

    Args:
        text: the ticket.
        user: the primary key, as text, of the user who brings it.

    Raises:
        StateError: when it was made for another user, was altered, has expired, was sealed with a
            key that is no longer configured, or its client has changed.
        KeyServiceError: when its key cannot be unwrapped at present.
    """
    id, _, sealed = text.partition(".")
    try:
        if not _WRITTEN.fullmatch(text):
            raise StateError("This is not a ticket.", reason="ticket_invalid")
        content = json.loads(keyring.unseal(sealed, _bind(id, user)).reveal())
    except KeyServiceError:
        raise
    except TokenDecryptionError as error:
        # It is another user's, was altered, or its key is no longer configured: start again.
        raise StateError(
            f"The ticket cannot be opened: {type(error).__name__}.", reason="ticket_invalid"
        ) from None
    ticket = _read_content(id, content)
    if not _is_same_client(ticket.pending.client, content):
        raise StateError(
            "The client has changed since the ticket was issued.", reason="ticket_invalid"
        )
    if not ticket.pending.is_live:
        raise StateError("The ticket has expired.", reason="ticket_expired")
    return ticket


def without_pkce(pending: PendingAuthorization) -> PendingAuthorization:
    """Return an authorization without code verifier and nonce, for Google's script and SDKs."""
    return replace(pending, code_verifier="", nonce="")


def _read_content(id: str, content: dict[str, Any]) -> Ticket:
    try:
        return Ticket(
            id=id,
            mode=content["mode"],
            pending=PendingAuthorization(**content["pending"]),
            state_digest=content["state_digest"],
            origin=content["origin"],
        )
    # A key that this version needs is missing, or it does not know one.
    except (KeyError, TypeError):
        raise StateError(
            "The ticket was created by another version of this site.", reason="ticket_invalid"
        ) from None


def _is_same_client(name: str, content: dict[str, Any]) -> bool:
    if name not in conf.clients:
        return False
    client = get_client(name)
    return (content["issuer"], content["client_id"]) == (client.issuer, client.client_id)


def _bind(id: str, user: str) -> Binding:
    # Users of different tenants may have the same primary key.
    tenant = name_tenant(router.db_for_write(GoogleAccount))
    return Binding(purpose=_PURPOSE, row_id=id, owner=user, sub="", issuer=tenant, client_id="")

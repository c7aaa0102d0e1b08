"""Tickets: authorizations that a front end carries, since there is no session to keep them in.

A ticket is sealed for its user as a token is: a front end can neither read nor change it. It lives
as long as a ``state`` does, and works once; what has been spent is remembered beside the states.
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

# Part of every ticket, as the purposes of tokens are of each token.
_PURPOSE = "front_end.ticket"

#: Characters: it names each scope twice, and a site may ask for a hundred and more.
LONGEST_TICKET = 32_768

_WRITTEN = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """What a ticket says, once it is opened.

    Args:
        id: by which it is remembered that it was spent.
        mode: in which the front end asks: one of ``conf.front_ends.MODES``.
        pending: the authorization.
        state_digest: of the ``state`` that comes back; empty where none does.
        origin: of the page that runs Google's script, in that mode.
    """

    id: str
    mode: str
    pending: PendingAuthorization
    state_digest: str = ""
    origin: str = ""

    @property
    def arrives_at(self) -> str:
        """The address at which the answer has to arrive (RFC 9700 section 4.4)."""
        return self.pending.redirect_uri if self.mode == REDIRECT else self.origin

    def check_state(self, state: str) -> None:
        """Check that an answer is the one to this ticket.

        Raises:
            StateError: when its ``state`` is another one.
        """
        if self.mode == MOBILE:
            return  # Google's SDKs have none.
        if not constant_time_compare(digest_state(state), self.state_digest):
            raise StateError("The state is not that of this ticket.", reason="state_mismatch")

    def check_address(self, address: str) -> None:
        """Check where the answer has arrived.

        Raises:
            StateError: when that is another address than the one that was asked for.
        """
        # Google's script hands over the code itself: its page may say where that was, or not.
        is_optional = self.mode != REDIRECT and not (self.origin and address)
        if address != self.arrives_at and not is_optional:
            raise StateError(
                f"The answer arrived at {address[:200]!r}, and was to arrive at "
                f"{self.arrives_at!r}.",
                reason="redirect_uri_mismatch",
            )

    def spend(self) -> bool:
        """Take the ticket for the one exchange that it is good for, in a transaction of its own.

        Returns:
            Whether nobody has taken it before.

        Raises:
            RuntimeError: inside a transaction of the caller's.
        """
        owner, client = self.pending.user, self.pending.client
        return spend_state(self._key, owner=owner, client=client, durable=True)

    def finish(self, *, account: str, declined: frozenset[str]) -> None:
        """Note what has come of it: the account, if any, and what the user did not grant."""
        finish_state(self._key, location=account, declined=declined)

    def await_account(self) -> str:
        """Return the id of the account that the first use has led to; empty, if to none."""
        return await_location(self._key, owner=self.pending.user)

    @property
    def _key(self) -> str:
        return f"ticket:{self.id}"


@sensitive_variables()
def issue_ticket(pending: PendingAuthorization, *, mode: str, origin: str = "") -> tuple[str, str]:
    """Seal an authorization for the front end of its user.

    Args:
        pending: the authorization.
        mode: in which the front end asks.
        origin: of the page that runs Google's script.

    Returns:
        The ticket, and the ``state`` to send; empty where none is sent.

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
    """Open a ticket that is still good, as far as it says itself.

    Args:
        text: as the front end has it.
        user: the primary key, as text, of the user who brings it.

    Raises:
        StateError: when it was not made for this user, was altered, has expired, was sealed with a
            key that is no longer configured, or its client is another one by now.
        KeyServiceError: when no key service unwraps its key at present.
    """
    id, _, sealed = text.partition(".")
    try:
        if not _WRITTEN.fullmatch(text):
            raise StateError("It is no ticket.", reason="ticket_invalid")
        content = json.loads(keyring.unseal(sealed, _bind(id, user)).reveal())
    except KeyServiceError:
        raise
    except TokenDecryptionError as error:
        # Another user's, altered, or the key is gone: whoever brings it starts again.
        raise StateError(
            f"The ticket does not open: {type(error).__name__}.", reason="ticket_invalid"
        ) from None
    ticket = _read_content(id, content)
    if not _is_same_client(ticket.pending.client, content):
        raise StateError("The client is another one by now.", reason="ticket_invalid")
    if not ticket.pending.is_live:
        raise StateError("The ticket has expired.", reason="ticket_expired")
    return ticket


def without_pkce(pending: PendingAuthorization) -> PendingAuthorization:
    """Return an authorization as Google's script and SDKs have it: without verifier and nonce."""
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
    # A new key of the content is missing, or one of the authorization is not known any more.
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
    # Another tenant's user may have the same number.
    tenant = name_tenant(router.db_for_write(GoogleAccount))
    return Binding(purpose=_PURPOSE, row_id=id, owner=user, sub="", issuer=tenant, client_id="")

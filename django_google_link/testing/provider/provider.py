"""The state of a fake Google, behind one lock."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from . import clock
from .faults import Fault, LastingFault, QueuesByPath, ResponseTampering
from .grants import Grants
from .identities import Directory
from .keys import SigningKeys
from .onetime import OneTimeStore
from .recording import RequestLog
from .security_events import EventStream

if TYPE_CHECKING:
    from .authorization import AuthorizationCode, ConsentTicket
    from .behaviour import Behaviour
    from .errors import OAuthError
    from .id_tokens import IDTokenTampering
    from .identities import FakeClient, FakeUser


class Provider:
    """The state that the endpoints share. Hold ``lock`` while using it, and do not sleep.

    Args:
        behaviour: how the fake behaves, read for each request.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.issuer = ""
        self.lock = threading.Lock()
        self.directory = Directory()
        self.grants = Grants(behaviour)
        self.codes: OneTimeStore[AuthorizationCode] = OneTimeStore(prefix="4/0A")
        self.tickets: OneTimeStore[ConsentTicket] = OneTimeStore()
        self.keys = SigningKeys()
        self.id_token_tamperings: deque[IDTokenTampering] = deque()
        self.response_tamperings: QueuesByPath[ResponseTampering] = QueuesByPath()
        self.authorization_errors: deque[OAuthError] = deque()
        self.faults: QueuesByPath[Fault] = QueuesByPath()
        self.lasting_faults: list[LastingFault] = []
        self.requests = RequestLog()
        self.stream = EventStream()

    def now(self) -> float:
        """Return the Unix time in seconds, by the fake's clock."""
        return self.behaviour.now()

    def library_now(self) -> float:
        """Return the time that Google's libraries use, which ``travel()`` does not move."""
        return self.now() - clock.moved_by()

    def find_holder(self, value: str) -> FakeUser | None:
        """Return the user of this refresh token, access token or code, if it is valid."""
        held = (
            self.grants.refresh_token(value)
            or self.grants.access_token(value)
            or self.codes.get(value, self.now())
        )
        return held.user if held else None

    def end_grant(self, user: FakeUser, client: FakeClient) -> None:
        """End a user's grant for a client's project.

        Its tokens and unused codes become invalid.
        """
        self.grants.remove(user, client)
        self.codes.discard(
            lambda code: code.user is user and code.client.project == client.project, self.now()
        )

    def remove_user(self, user: FakeUser) -> None:
        """Remove an account with its grants, tokens and unused codes. Pages no longer offer it."""
        self.directory.users.pop(user.sub, None)
        self.grants.remove_user(user)
        self.codes.discard(lambda code: code.user is user, self.now())
        self.tickets.discard(lambda ticket: user in ticket.accounts, self.now())

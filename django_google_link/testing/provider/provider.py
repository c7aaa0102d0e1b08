"""All the state of one fake Google, behind one lock."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from .faults import Faults
from .grants import Grants
from .identities import Directory
from .keys import SigningKeys
from .onetime import OneTimeStore
from .recording import RequestLog

if TYPE_CHECKING:
    from .authorization import AuthorizationCode, ConsentTicket
    from .behaviour import Behaviour
    from .id_tokens import Tampering
    from .identities import FakeClient, FakeUser


class Provider:
    """What the endpoints work on. Whoever touches a part of it holds ``lock``, and never sleeps.

    Args:
        behaviour: the knobs, read at each request.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.issuer = ""
        self.lock = threading.Lock()
        self.directory = Directory()
        self.grants = Grants()
        self.codes: OneTimeStore[AuthorizationCode] = OneTimeStore(prefix="4/0A")
        self.tickets: OneTimeStore[ConsentTicket] = OneTimeStore()
        self.keys = SigningKeys()
        self.tamperings: deque[Tampering] = deque()
        self.faults = Faults()
        self.requests = RequestLog()

    def now(self) -> float:
        """Return the time, in seconds since the epoch, by the fake's clock."""
        return self.behaviour.now()

    def end_grant(self, user: FakeUser, client: FakeClient) -> None:
        """Take a grant back, with its tokens and with codes that are still on their way."""
        self.grants.remove(user, client)
        self.codes.discard(lambda code: (code.user, code.client) == (user, client), self.now())

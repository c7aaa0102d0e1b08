"""A Google for your tests: OAuth 2.0 and OpenID Connect on loopback, with no network.

Needs the extra ``testing``. Nothing is imported before it is asked for, so that test runs that
never start a ``FakeGoogle`` do not pay for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .accounts import make_google_account
    from .errors import FakeGoogleError
    from .fake import FakeGoogle
    from .identities import FakeClient, FakeUser
    from .recording import RecordedRequest
    from .service_accounts import FakeServiceAccount

__all__ = [
    "FakeClient",
    "FakeGoogle",
    "FakeGoogleError",
    "FakeServiceAccount",
    "FakeUser",
    "RecordedRequest",
    "make_google_account",
]

_HOMES = {
    "FakeClient": "identities",
    "FakeGoogle": "fake",
    "FakeGoogleError": "errors",
    "FakeServiceAccount": "service_accounts",
    "FakeUser": "identities",
    "RecordedRequest": "recording",
    "make_google_account": "accounts",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)

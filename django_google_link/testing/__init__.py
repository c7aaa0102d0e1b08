"""A fake Google for tests: an OAuth 2.0 and OpenID Connect provider on loopback.

Needs the extra ``testing``. Modules are imported on first use, so that test runs without a
``FakeGoogle`` do not load them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .accounts import link_google_account, make_google_account
    from .cases import FakeGoogleMixin, running_google
    from .clock import travel
    from .development import fake_google_settings
    from .fake import FakeGoogle
    from .provider.behaviour import Behaviour
    from .provider.errors import FakeGoogleError
    from .provider.identities import FakeClient, FakeUser
    from .provider.recording import RecordedRequest
    from .provider.service_accounts import FakeServiceAccount

__all__ = [
    "Behaviour",
    "FakeClient",
    "FakeGoogle",
    "FakeGoogleError",
    "FakeGoogleMixin",
    "FakeServiceAccount",
    "FakeUser",
    "RecordedRequest",
    "fake_google_settings",
    "link_google_account",
    "make_google_account",
    "running_google",
    "travel",
]

_HOMES = {
    "Behaviour": "provider.behaviour",
    "FakeClient": "provider.identities",
    "FakeGoogle": "fake",
    "FakeGoogleError": "provider.errors",
    "FakeGoogleMixin": "cases",
    "FakeServiceAccount": "provider.service_accounts",
    "FakeUser": "provider.identities",
    "RecordedRequest": "provider.recording",
    "fake_google_settings": "development",
    "link_google_account": "accounts",
    "make_google_account": "accounts",
    "running_google": "cases",
    "travel": "clock",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f'{name} needs {error.name}: pip install "django-google-link[testing]".'
        ) from None

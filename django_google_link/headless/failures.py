"""Turns exceptions into error responses for front ends."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from ..conf.clients import name_provider_of
from ..exceptions import (
    AuthorizationDeniedError,
    ClientMisconfiguredError,
    GoogleLinkError,
    GrantNotStoredError,
    HostedDomainError,
    KeyServiceError,
    NoRefreshTokenError,
    OtherAccountError,
    RefreshUnavailableError,
    StateError,
)
from ..web.failures import explain_failure, explain_lack_of_refresh_token
from .errors import FrontEndError

_WORDS = (
    (HostedDomainError, "hosted_domain"),
    (RefreshUnavailableError, "google_unavailable"),
    (GrantNotStoredError, "not_stored"),
    (KeyServiceError, "not_stored"),
    (ClientMisconfiguredError, "client_misconfigured"),
)


def describe_failure(error: GoogleLinkError, *, client: str, **more: Any) -> FrontEndError:
    """Return the error response for an exception. The provider's own text is only logged.

    Args:
        error: an exception raised while linking.
        client: the name of the OAuth client.
        more: additional members of the body.
    """
    provider = name_provider_of(client)
    match error:
        case StateError():
            _status, _title, text = explain_failure(error, provider=provider)
            return FrontEndError(400, error.reason or "ticket_invalid", text, **more)
        case AuthorizationDeniedError(is_users=True):
            text = _("Nothing was linked, and nothing has changed.")
            return FrontEndError(403, "access_denied", text, **more)
        case AuthorizationDeniedError():
            text = _(
                "{provider} sent you back with an error. Nothing was linked, and nothing has "
                "changed."
            ).format(provider=provider)
            return FrontEndError(400, "provider_error", text, provider_error=error.error, **more)
        case OtherAccountError():
            return _describe_other_account(error, more)
        case NoRefreshTokenError():
            text = explain_lack_of_refresh_token(provider)
            return FrontEndError(400, "no_refresh_token", text, **more)
    status, _title, text = explain_failure(error, provider=provider)
    word = next((word for kind, word in _WORDS if isinstance(error, kind)), "google_refused")
    return FrontEndError(status, word, text, **more)


def _describe_other_account(error: OtherAccountError, more: dict[str, Any]) -> FrontEndError:
    text = _(
        "You chose %(other)s, which is not the account that you were asked to choose. "
        "This site has not stored anything about it."
    ) % {"other": error.name}
    expected = error.account.name_at_google if error.account else None
    return FrontEndError(409, "other_account", text, chosen=error.name, expected=expected, **more)

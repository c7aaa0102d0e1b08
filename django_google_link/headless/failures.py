"""What went wrong, in the words of the contract."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from ..exceptions import (
    AuthorizationDeniedError,
    ClientMisconfiguredError,
    GoogleLinkError,
    GrantNotStoredError,
    HostedDomainError,
    NoRefreshTokenError,
    OtherAccountError,
    RefreshUnavailableError,
    StateError,
)
from ..web.failures import NO_LASTING_ACCESS, explain_failure
from .errors import FrontEndError

_WORDS = (
    (HostedDomainError, "hosted_domain"),
    (RefreshUnavailableError, "google_unavailable"),
    (GrantNotStoredError, "not_stored"),
    (ClientMisconfiguredError, "client_misconfigured"),
)


def describe_failure(error: GoogleLinkError, **more: Any) -> FrontEndError:
    """Return what a front end is told of an error; what Google said stays in the log.

    Args:
        error: of the linking flow.
        more: what the front end needs to go on.
    """
    match error:
        case StateError():
            _status, _title, text = explain_failure(error)
            return FrontEndError(400, error.reason or "ticket_invalid", text, **more)
        case AuthorizationDeniedError(is_users=True):
            text = _("Nothing was linked, and nothing has changed.")
            return FrontEndError(403, "access_denied", text, **more)
        case AuthorizationDeniedError():
            text = _(
                "Google sent you back with an error. Nothing was linked, and nothing has changed."
            )
            return FrontEndError(400, "provider_error", text, provider_error=error.error, **more)
        case OtherAccountError():
            return _describe_other_account(error, more)
        case NoRefreshTokenError():
            return FrontEndError(400, "no_refresh_token", str(NO_LASTING_ACCESS), **more)
    status, _title, text = explain_failure(error)
    word = next((word for kind, word in _WORDS if isinstance(error, kind)), "google_refused")
    return FrontEndError(status, word, text, **more)


def _describe_other_account(error: OtherAccountError, more: dict[str, Any]) -> FrontEndError:
    text = _(
        "You chose %(other)s, which is not the account that was asked for. This site has stored "
        "nothing of it."
    ) % {"other": error.name}
    expected = error.account.name_at_google if error.account else None
    return FrontEndError(409, "other_account", text, chosen=error.name, expected=expected, **more)

"""The texts for users when linking fails, on a page or in a front end."""

from __future__ import annotations

from django.utils.translation import gettext as _

from ..exceptions import (
    ClientMisconfiguredError,
    GoogleLinkError,
    GrantNotStoredError,
    HostedDomainError,
    KeyServiceError,
    RefreshUnavailableError,
    StateError,
)


def explain_lack_of_refresh_token(provider: str) -> str:
    """Return what users can do if the provider issues no refresh token, as they linked before."""
    return _(
        "Your account could not be linked. In the security settings of your {provider} "
        "Account, remove this site from the apps with access, and try again."
    ).format(provider=provider)


def explain_failure(error: GoogleLinkError, *, provider: str) -> tuple[int, str, str]:
    """Return the HTTP status, a title and a text. The provider's own text is only logged.

    Args:
        error: an exception raised while linking.
        provider: the provider's name for users.
    """
    match error:
        case StateError():
            return (
                400,
                _("Your account was not linked"),
                _(
                    "This request has expired, was already completed, or was started in another "
                    "browser or by another user. It has changed nothing. If the account is not "
                    "among your linked accounts, please start again."
                ),
            )
        case HostedDomainError():
            return 403, _("This account could not be linked"), _name_domains(error.hosted_domains)
        case RefreshUnavailableError():
            return (
                503,
                _("{provider} cannot be reached").format(provider=provider),
                _(
                    "{provider} did not respond as expected. Nothing has changed. Please try again "
                    "in a few minutes."
                ).format(provider=provider),
            )
        case GrantNotStoredError() | KeyServiceError():
            return 503, _("Your account could not be saved"), _explain_unsaved(error)
        case ClientMisconfiguredError():
            return (
                503,
                _("This site is not set up correctly for {provider}").format(provider=provider),
                _(
                    "{provider} is not accepting requests from this site. The operators of this "
                    "site have to fix this."
                ).format(provider=provider),
            )
    return (
        400,
        _("{provider} did not link your account").format(provider=provider),
        _(
            "The response from {provider} could not be used. Nothing has changed. Please try again."
        ).format(provider=provider),
    )


def _explain_unsaved(error: GoogleLinkError) -> str:
    if isinstance(error, KeyServiceError):
        return _(
            "This site cannot encrypt your tokens at the moment. Nothing has changed. "
            "Please try again in a few minutes."
        )
    return _(
        "This site could not save your account, so the access that you granted has "
        "been revoked. Please try again."
    )


def _name_domains(domains: tuple[str, ...]) -> str:
    if domains == ("*",):
        return _("Only Google Workspace accounts can be linked here.")
    text = _("Only Google accounts at {domain} can be linked here.")
    return text.format(domain=", ".join(domains))

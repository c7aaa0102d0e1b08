"""The content of responses to users who must act first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.urls import reverse
from django.utils.http import urlencode

from ..accounts.lost_grants import mark_lost
from ..exceptions import AccountChoiceRequiredError, GrantLostError, TokenUndecryptableError
from ..models import Status

_DETAIL = "The user has to give consent: see authorize_url, or use link_request."

if TYPE_CHECKING:
    from ..exceptions import ConsentRequiredError
    from .access import GoogleAccess


def consent_content(
    access: GoogleAccess, error: ConsentRequiredError | None = None
) -> dict[str, Any]:
    """Return the content for a page of this site; see :func:`program_content`.

    Args:
        access: the access of the request.
        error: the error that the view raised, if it was called.
    """
    further = sorted(error.missing_scopes) if error else []
    return {
        "error": "google_authorization_required",
        "reason": error.reason if error and access else access.status,
        "missing_scopes": sorted({*access.missing_scopes, *further}),
        "authorize_url": _find_url(access, error, further),
        **({"ends_at": access.ends_at.isoformat()} if access.ends_at else {}),
    }


def program_content(
    access: GoogleAccess, error: ConsentRequiredError | None = None
) -> dict[str, Any]:
    """Return the content for a program, as data that can be serialized as JSON.

    URLs are absolute, since the program may have another origin. Arguments as above.
    """
    further = sorted(error.missing_scopes) if error else []
    is_choice = bool(access) and isinstance(error, AccountChoiceRequiredError)
    link_request = "" if is_choice else access.link_request(*further)
    content = consent_content(access, error)
    return {
        **content,
        "detail": _DETAIL,
        "authorize_url": access.build_absolute_uri(content["authorize_url"]),
        **({"link_request": link_request} if link_request else {}),
        "declined": is_declined(access, error),
    }


def is_declined(access: GoogleAccess, error: ConsentRequiredError | None = None) -> bool:
    """Return whether the user has just declined what is needed here. Arguments as above."""
    if isinstance(error, AccountChoiceRequiredError):
        return False  # A page of this app asks for it, not Google.
    return access.was_declined(*(error.missing_scopes if error else ()))


def note_lost(error: ConsentRequiredError) -> None:
    """Record again that a grant is lost, after the transaction of the view was rolled back.

    Call it only after that: within the transaction the record would be rolled back as well, and on
    another connection it would wait for a lock.
    """
    if _is_lost(error) and error.account and error.account.is_active:
        mark_lost(error.account, error.reason)


def require_owner(error: ConsentRequiredError, access: GoogleAccess) -> None:
    """Check that an error concerns the user of this request.

    Raises:
        ConsentRequiredError: the same error, if it does not.
    """
    if error.user_id is not None and not access.is_for(error.user_id):
        raise error


def look_again(error: ConsentRequiredError, access: GoogleAccess) -> GoogleAccess:
    """Return the current access, for the account that caused an error.

    Raises:
        ConsentRequiredError: the same error, if it does not concern the user of this request.
    """
    require_owner(error, access)
    access = access.looked_up_again(error)
    if _is_lost(error):
        _apply_loss(error, access)
    can_choose = isinstance(error, AccountChoiceRequiredError) and len(access.accounts) > 1
    if access and access.has_scopes(*error.missing_scopes) and not can_choose:
        # Consent would change nothing: the user would be redirected in a loop.
        raise error
    return access


def _is_lost(error: ConsentRequiredError) -> bool:
    return isinstance(error, GrantLostError | TokenUndecryptableError)


def _apply_loss(error: ConsentRequiredError, access: GoogleAccess) -> None:
    """Mark the grant as lost in memory, if the database does not say so yet."""
    for account in access.accounts:
        if account == error.account and account.grant_version == error.account.grant_version:
            account.status, account.status_reason = Status.NEEDS_REAUTHORIZATION, error.reason


def _find_url(access: GoogleAccess, error: ConsentRequiredError | None, scopes: list[str]) -> str:
    if access and isinstance(error, AccountChoiceRequiredError):
        # The requirement of the view is met, but by an account that lacks something else.
        return f"{reverse('google_link:accounts')}?{urlencode({'next': access.return_url})}"
    return access.authorize_url(*scopes)

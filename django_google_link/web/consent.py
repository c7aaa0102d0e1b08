"""What to tell whom, when a user has to act first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.urls import reverse
from django.utils.http import urlencode

from ..accounts.lost_grants import mark_lost
from ..exceptions import AccountChoiceRequiredError, GrantLostError, TokenUndecryptableError
from ..models import Status

_DETAIL = "The user has to give consent: see authorize_url, or hand in link_request."

if TYPE_CHECKING:
    from ..exceptions import ConsentRequiredError
    from .access import GoogleAccess


def consent_content(
    access: GoogleAccess, error: ConsentRequiredError | None = None
) -> dict[str, Any]:
    """Return what there is to tell, for a page of this site; see :func:`program_content`.

    Args:
        access: what was looked up for the request.
        error: what the view raised, when it got as far as that.
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
    """Return what a program needs to know, in JSON's own types: it may be of another origin.

    Arguments as above.
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
    """Return whether this user has just refused what is needed here. Arguments as above."""
    if isinstance(error, AccountChoiceRequiredError):
        return False  # Our own page asks for it, and not Google.
    return access.was_declined(*(error.missing_scopes if error else ()))


def note_lost(error: ConsentRequiredError) -> None:
    """Note once more that a grant is lost, if it is that which a view has met.

    The transaction of the view's has taken back what was noted when it was found. To be called
    when that has ended: in it, this would be taken back as well, and beside it, it would wait.
    """
    if _is_lost(error) and error.account and error.account.is_active:
        mark_lost(error.account, error.reason)


def require_owner(error: ConsentRequiredError, access: GoogleAccess) -> None:
    """Check that it is the user of this request who can help.

    Raises:
        ConsentRequiredError: the same, when it is another one.
    """
    if error.user_id is not None and not access.is_for(error.user_id):
        raise error


def look_again(error: ConsentRequiredError, access: GoogleAccess) -> GoogleAccess:
    """Return how things are now, with the account that a view had trouble with.

    Raises:
        ConsentRequiredError: the same, when it is not the user of this request who can help.
    """
    require_owner(error, access)
    access = access.looked_up_again(error)
    if _is_lost(error):
        _apply_loss(error, access)
    can_choose = isinstance(error, AccountChoiceRequiredError) and len(access.accounts) > 1
    if access and access.has_scopes(*error.missing_scopes) and not can_choose:
        # To send this user to consent would send them in a circle.
        raise error
    return access


def _is_lost(error: ConsentRequiredError) -> bool:
    return isinstance(error, GrantLostError | TokenUndecryptableError)


def _apply_loss(error: ConsentRequiredError, access: GoogleAccess) -> None:
    """Take the grant of this error for lost, where the database does not say so yet."""
    for account in access.accounts:
        if account == error.account and account.grant_version == error.account.grant_version:
            account.status, account.status_reason = Status.NEEDS_REAUTHORIZATION, error.reason


def _find_url(access: GoogleAccess, error: ConsentRequiredError | None, scopes: list[str]) -> str:
    if access and isinstance(error, AccountChoiceRequiredError):
        # The view's own requirement is met, by an account that has not what else was needed.
        return f"{reverse('google_link:accounts')}?{urlencode({'next': access.return_url})}"
    return access.authorize_url(*scopes)

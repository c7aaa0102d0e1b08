"""Access tokens of linked accounts and service accounts."""

from __future__ import annotations

from collections.abc import Sequence

from django.views.decorators.debug import sensitive_variables

from ..accounts.access_tokens import fresh_access_token
from ..accounts.stored_tokens import AccessToken, choose_leeway, stored_access_token
from ..accounts.usage import note_use
from ..conf.service_accounts import ServiceAccount
from ..models import GoogleAccount
from ..secret import Secret
from .service_account_tokens import service_token


@sensitive_variables()
def get_token(
    account: GoogleAccount | ServiceAccount,
    *,
    scopes: Sequence[str] = (),
    rejected: Secret | None = None,
) -> AccessToken:
    """Return a valid access token.

    Args:
        account: a linked account, already checked to be ready; or a service account.
        scopes: the scopes of a service account's token.
        rejected: a token that an API rejected. It is returned again if another one was requested
            less than a minute ago.

    Raises:
        GoogleLinkError: as ``access_tokens.fresh_access_token`` and
            ``service_account_tokens.service_token`` say.
    """
    if isinstance(account, ServiceAccount):
        return service_token(account, scopes, rejected=rejected)
    token = None
    if rejected is None:
        token = stored_access_token(account, leeway=choose_leeway(account))
    if token is None:
        # After a rejection the row is read again: this object may contain the rejected token.
        token = fresh_access_token(account, rejected=rejected)
    note_use(account)
    return token

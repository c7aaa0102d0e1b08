"""Moving in: refresh tokens of other packages become linked accounts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator
from dataclasses import replace

from django.contrib.auth import get_user_model
from django.db import router
from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from ..accounts.grants import save_grant
from ..accounts.revocations import outbox
from ..conf.clients import OAuthClient, get_client
from ..conf.settings import conf
from ..exceptions import (
    ConsentRequiredError,
    EncryptionKeyUnavailableError,
    GoogleLinkError,
    IDTokenError,
    RefreshUnavailableError,
    TokenUndecryptableError,
)
from ..models import GoogleAccount, Reason
from ..oauth import endpoints
from ..oauth.endpoints import TokenResponse
from ..oauth.id_token import Identity, verify_id_token
from ..secret import Secret
from .import_sources import Find, Source
from .parallel import in_parallel

logger = logging.getLogger("django_google_link")


class ImportOutcome(TextChoices):
    """What became of a find."""

    MOVED = "moved", _("moved in")
    EXPECTED = "expected", _("would be moved in, if Google honours them")
    LINKED = "linked", _("linked here already")
    STAYED = "stayed", _("linked here, but the files could not be removed")
    TOKENLESS = "tokenless", _("left out: no refresh token")
    LOST = "lost", _("left out: Google no longer honours them, their users have to link again")
    NAMELESS = "nameless", _("left out: nobody says which Google account they are of")
    FOREIGN = "foreign", _("left out: given to a client that is not configured here")
    WITHDRAWN = "withdrawn", _("left out: unlinked here since, or for their users to link again")
    UNREADABLE = "unreadable", _("left out: they cannot be read")
    UNREACHABLE = "unreachable", _("postponed: Google could not be reached")
    REFUSED = "refused", _("postponed: Google refuses the client")
    KEYLESS = "keyless", _("postponed: the key of what is linked here is not configured")


#: What may go better another time.
RETRYABLE = frozenset(
    {
        ImportOutcome.STAYED,
        ImportOutcome.FOREIGN,
        ImportOutcome.UNREACHABLE,
        ImportOutcome.REFUSED,
        ImportOutcome.KEYLESS,
    }
)

_FAILURES: dict[type[Exception], ImportOutcome] = {
    ConsentRequiredError: ImportOutcome.LOST,
    RefreshUnavailableError: ImportOutcome.UNREACHABLE,
    IDTokenError: ImportOutcome.NAMELESS,
    EncryptionKeyUnavailableError: ImportOutcome.KEYLESS,
    GoogleLinkError: ImportOutcome.REFUSED,
}


def move_in(
    source: Source, *, client: str | None, dry_run: bool, wipe: bool, workers: int
) -> Generator[ImportOutcome, None, None]:
    """Link what is found in a place, and yield an outcome for each find as it comes.

    Every refresh token is used once: the answer tells whether Google honours it, whose it is and
    which scopes it has, whatever the place says. It may be done again at any time, and be stopped.

    Args:
        source: the place.
        client: the name of the OAuth client; by default the one that has the find's client id.
        dry_run: neither ask Google nor write anything.
        wipe: remove the plain text of what is linked here.
        workers: the number of threads, each with a database connection of its own.
    """

    def process(find: Find) -> ImportOutcome:
        outcome, reason = _process(find, client=client, dry_run=dry_run)
        if reason:
            logger.warning("%s was not moved in: %s", find.name, reason)
        if wipe and not dry_run and outcome in {ImportOutcome.MOVED, ImportOutcome.LINKED}:
            return _wiped(find, outcome)
        return outcome

    return in_parallel(process, source.finds, workers=workers, stopped=threading.Event())


def _wiped(find: Find, outcome: ImportOutcome) -> ImportOutcome:
    try:
        find.wipe()
    except OSError as error:
        logger.warning("%s is linked and could not be removed: %s", find.name, error.strerror)
        return ImportOutcome.STAYED
    return outcome


@sensitive_variables()
def _process(find: Find, *, client: str | None, dry_run: bool) -> tuple[ImportOutcome, str]:
    if find.problem:
        return ImportOutcome.UNREADABLE, find.problem
    if find.user_id is None:
        return ImportOutcome.UNREADABLE, "it belongs to no user"
    if find.refresh_token is None:
        return ImportOutcome.TOKENLESS, ""
    oauth_client = _client_of(find, client)
    if oauth_client is None:
        return ImportOutcome.FOREIGN, f"no client in CLIENTS has its client id, {find.client_id}"
    return _try(find, oauth_client, find.refresh_token, dry_run=dry_run)


@sensitive_variables()
def _try(
    find: Find, client: OAuthClient, refresh_token: Secret, *, dry_run: bool
) -> tuple[ImportOutcome, str]:
    try:
        known = _known(find, client, find.sub)
        if known or dry_run:
            return known or ImportOutcome.EXPECTED, ""
        return _link(find, client, refresh_token), ""
    except GoogleLinkError as error:
        outcomes = (outcome for kind, outcome in _FAILURES.items() if isinstance(error, kind))
        return next(outcomes), str(error)


def _client_of(find: Find, name: str | None) -> OAuthClient | None:
    """Return the client to which this token was given: it is of no use to any other.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when the one that is named cannot work.
    """
    if name or not find.client_id:
        client = get_client(name or "default")
        return client if find.client_id in {"", client.client_id} else None
    for candidate in conf.clients:
        client = get_client(candidate)
        if client.client_id == find.client_id:
            return client
    return None


def _row(find: Find, client: OAuthClient, sub: str) -> GoogleAccount | None:
    rows = GoogleAccount.objects.using(router.db_for_write(GoogleAccount))
    return rows.filter(user_id=find.user_id, client=client.name, sub=sub).first()


def _known(find: Find, client: OAuthClient, sub: str) -> ImportOutcome | None:
    """Return what this site knows of the account that goes before what was found, if anything.

    Raises:
        EncryptionKeyUnavailableError: when it has a token, and not the key to it.
    """
    owner = GoogleAccount(user_id=find.user_id).owner
    unlinked = outbox().filter(owner=owner, client=client.name, sub=sub)
    row = _row(find, client, sub)
    if unlinked.exists() or (row and row.status_reason == Reason.REQUESTED):
        return ImportOutcome.WITHDRAWN
    is_linked = row and row.is_active and row.client_id == client.client_id and _opens(row)
    return ImportOutcome.LINKED if is_linked else None


def _opens(row: GoogleAccount) -> bool:
    try:
        row.unseal_token("refresh_token")
    except TokenUndecryptableError:
        return False
    return True


@sensitive_variables()
def _link(find: Find, client: OAuthClient, refresh_token: Secret) -> ImportOutcome:
    response = endpoints.refresh(client, refresh_token=refresh_token)
    identity = _identity(find, client, response)
    known = _known(find, client, identity.sub)
    if known:
        return known
    row = _row(find, client, identity.sub)
    kept = response.refresh_token or refresh_token
    account = save_grant(
        get_user_model()(pk=find.user_id),
        client,
        identity,
        replace(response, refresh_token=kept),
        requested_scopes=(),
        seen=row.grant_version if row else 0,
    )
    return (
        ImportOutcome.MOVED
        if account.unseal_token("refresh_token") == kept
        else ImportOutcome.LINKED
    )


@sensitive_variables()
def _identity(find: Find, client: OAuthClient, response: TokenResponse) -> Identity:
    """Return whose grant it is: as Google says, or else as Google said when the user logged in.

    Raises:
        IDTokenError: when nobody says, or Google says otherwise.
    """
    if response.id_token:
        identity = verify_id_token(client, response.id_token, nonce=None)
        if find.sub and find.sub != identity.sub:
            raise IDTokenError("Google says that it is of another account than its place says.")
        return identity
    if not find.sub or client.hosted_domain:
        raise IDTokenError("Its scopes do not include openid.")
    return Identity(
        sub=find.sub,
        email=find.email,
        email_verified=False,
        name="",
        picture="",
        hosted_domain="",
    )

"""Importing refresh tokens from other packages as linked accounts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace

from django.contrib.auth import get_user_model
from django.db import router, transaction
from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from ..accounts.answers import (
    end_grant,
    end_grant_on_failure,
    hold_grant,
)
from ..accounts.grants import is_held, save_grant
from ..accounts.held_grants import HeldGrant, release_in_the_end
from ..accounts.outbox import read_outbox
from ..accounts.transactions import run_durably
from ..conf.clients import OAuthClient, get_client
from ..conf.settings import conf
from ..exceptions import (
    ConsentRequiredError,
    EncryptionKeyUnavailableError,
    GoogleLinkError,
    GrantNotStoredError,
    IDTokenError,
    RefreshUnavailableError,
    TokenUndecryptableError,
    UserinfoError,
)
from ..models import GoogleAccount, GoogleAccountQuerySet, Reason
from ..oauth import endpoints
from ..oauth.authorization_response import identify_user
from ..oauth.endpoints import TokenResponse
from ..oauth.id_token import Identity, verify_id_token
from ..secret import Secret
from .import_sources import Candidate, Source
from .outcomes import find_outcome
from .parallel import in_parallel
from .patience import Patience

logger = logging.getLogger("django_google_link")


class ImportOutcome(TextChoices):
    """The outcome for a candidate."""

    IMPORTED = "imported", _("imported")
    EXPECTED = "expected", _("would be imported, if the provider accepts them")
    LINKED = "linked", _("already linked here")
    STAYED = "stayed", _("linked here, but the files could not be removed")
    TOKENLESS = "tokenless", _("skipped: no refresh token")
    LOST = (
        "lost",
        _("skipped: no longer valid at the provider, their users have to link again"),
    )
    NAMELESS = "nameless", _("skipped: the account they belong to cannot be determined")
    FOREIGN = "foreign", _("skipped: issued to a client that is not configured here")
    WITHDRAWN = (
        "withdrawn",
        _("skipped: unlinked here since then, or waiting for their users to link again"),
    )
    UNREADABLE = "unreadable", _("skipped: cannot be read")
    UNREACHABLE = "unreachable", _("postponed: the provider could not be reached")
    REFUSED = "refused", _("postponed: the provider refuses the client")
    UNSTORED = "unstored", _("postponed: could not be saved here")
    KEYLESS = "keyless", _("postponed: the encryption key of the existing link is not configured")


#: Outcomes that a later run may improve.
RETRYABLE = frozenset(
    {
        ImportOutcome.STAYED,
        ImportOutcome.FOREIGN,
        ImportOutcome.UNREACHABLE,
        ImportOutcome.REFUSED,
        ImportOutcome.UNSTORED,
        ImportOutcome.KEYLESS,
    }
)

#: Outcomes that leave nothing to import.
TAKEN = frozenset(
    {
        ImportOutcome.IMPORTED,
        ImportOutcome.EXPECTED,
        ImportOutcome.LINKED,
        ImportOutcome.WITHDRAWN,
    }
)

_FAILURES: dict[type[Exception], ImportOutcome] = {
    ConsentRequiredError: ImportOutcome.LOST,
    RefreshUnavailableError: ImportOutcome.UNREACHABLE,
    IDTokenError: ImportOutcome.NAMELESS,
    UserinfoError: ImportOutcome.NAMELESS,
    EncryptionKeyUnavailableError: ImportOutcome.KEYLESS,
    GrantNotStoredError: ImportOutcome.UNSTORED,
    GoogleLinkError: ImportOutcome.REFUSED,
}


def import_tokens(
    source: Source, *, client: str | None, dry_run: bool, wipe: bool, workers: int
) -> Generator[ImportOutcome, None, None]:
    """Link the candidates of a source; yield an outcome for each.

    Every refresh token is used once: the response shows whether it is valid, whose account it is
    and which scopes it has, whatever the source states. The import can be interrupted and repeated.

    Args:
        source: the rows or files.
        client: the name of the OAuth client; by default the one with the candidate's client id.
        dry_run: whether to make no requests and write nothing.
        wipe: whether to delete the plain text of linked accounts.
        workers: the number of threads, each with its own database connection.
    """

    patience = Patience(3 * workers)

    def process(candidate: Candidate) -> ImportOutcome:
        outcome, reason = _import_candidate(
            candidate, client=client, dry_run=dry_run, patience=patience
        )
        if reason:
            logger.warning("%s was not imported: %s", candidate.name, reason)
        if wipe and not dry_run and outcome in {ImportOutcome.IMPORTED, ImportOutcome.LINKED}:
            return _wipe_source(candidate, outcome)
        return outcome

    return in_parallel(process, source.candidates, workers=workers, stopped=threading.Event())


def _wipe_source(candidate: Candidate, outcome: ImportOutcome) -> ImportOutcome:
    try:
        candidate.wipe()
    except OSError as error:
        logger.warning(
            "%s was linked, but could not be removed: %s", candidate.name, error.strerror
        )
        return ImportOutcome.STAYED
    return outcome


@sensitive_variables()
def _import_candidate(
    candidate: Candidate, *, client: str | None, dry_run: bool, patience: Patience
) -> tuple[ImportOutcome, str]:
    if candidate.problem:
        return ImportOutcome.UNREADABLE, candidate.problem
    if candidate.user_id is None:
        return ImportOutcome.UNREADABLE, "it belongs to no user"
    if candidate.refresh_token is None:
        return ImportOutcome.TOKENLESS, candidate.advice
    oauth_client = _find_client(candidate, client)
    if oauth_client is None:
        reason = _explain_foreign(candidate)
        return ImportOutcome.FOREIGN, reason
    return _try_to_link(
        candidate, oauth_client, candidate.refresh_token, dry_run=dry_run, patience=patience
    )


@sensitive_variables()
def _try_to_link(
    candidate: Candidate,
    client: OAuthClient,
    refresh_token: Secret,
    *,
    dry_run: bool,
    patience: Patience,
) -> tuple[ImportOutcome, str]:
    try:
        known = _find_reason_to_skip(candidate, client, candidate.sub)
        if known or dry_run:
            return known or ImportOutcome.EXPECTED, ""
        if patience.is_over(client.issuer):
            return ImportOutcome.UNREACHABLE, ""
        with _watching(client.issuer, patience):
            return _link_account(candidate, client, refresh_token), ""
    except GoogleLinkError as error:
        return find_outcome(error, _FAILURES), str(error)


@contextmanager
def _watching(issuer: str, patience: Patience) -> Iterator[None]:
    """Count a request without a response. An error may concern this token alone, and is quick."""
    try:
        yield
    except RefreshUnavailableError as error:
        if error.status is None:
            patience.count_failure(issuer)
        else:
            patience.note_answer(issuer)
        raise
    except GoogleLinkError:
        patience.note_answer(issuer)
        raise
    patience.note_answer(issuer)


def _find_client(candidate: Candidate, name: str | None) -> OAuthClient | None:
    """Return the client to which the token was issued, since no other can use it.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when the settings of the named client are
            invalid.
    """
    if name or not candidate.client_id:
        client = get_client(name or "default")
        is_its = candidate.client_id in {"", client.client_id}
        return (
            client if is_its and _may_have_issued(client, candidate, is_named=bool(name)) else None
        )
    for configured in conf.clients:
        client = get_client(configured)
        if client.client_id == candidate.client_id and _may_have_issued(client, candidate):
            return client
    return None


def _may_have_issued(client: OAuthClient, candidate: Candidate, *, is_named: bool = False) -> bool:
    """Return whether a token belongs to this client's provider: no other provider may see it.

    Args:
        is_named: whether the operator named the client, which counts if the source states no
            endpoint.
    """
    if not candidate.token_endpoint:
        return is_named
    return client.is_used_at(candidate.token_endpoint)


#: The client ids of gcloud and of gcloud auth application-default, from gcloud's public source.
_GCLOUD_CLIENTS = frozenset(
    {
        "32555940559.apps.googleusercontent.com",
        "764086051850-6qr4p6gpi6hn506pt8ejuq83di341hur.apps.googleusercontent.com",
    }
)


def _explain_foreign(candidate: Candidate) -> str:
    if not candidate.token_endpoint:
        return "its source does not state the issuer: pass the client with --client"
    if candidate.client_id in _GCLOUD_CLIENTS:
        return (
            "it was issued to gcloud itself, and only gcloud can use it. Have its user link "
            "here, or log in with gcloud auth application-default login "
            "--client-id-file=client_secret.json"
        )
    issued = f"{candidate.client_id or 'a client'} at {candidate.token_endpoint}"
    return f"it was issued to {issued}, which is not in CLIENTS"


def _find_account(candidate: Candidate, client: OAuthClient, sub: str) -> GoogleAccount | None:
    return _list_accounts(candidate, client, sub).first()


def _list_accounts(candidate: Candidate, client: OAuthClient, sub: str) -> GoogleAccountQuerySet:
    rows = GoogleAccount.objects.using(router.db_for_write(GoogleAccount))
    return rows.filter(user_id=candidate.user_id, client=client.name, sub=sub)


def _find_reason_to_skip(
    candidate: Candidate,
    client: OAuthClient,
    sub: str,
    *,
    held: HeldGrant | None = None,
) -> ImportOutcome | None:
    """Return the outcome if what is stored about the account takes precedence over the candidate.

    Args:
        held: the outbox entry of this import itself.

    Raises:
        EncryptionKeyUnavailableError: when the key of the stored token is not configured.
    """
    owner = GoogleAccount(user_id=candidate.user_id).owner
    unlinked = read_outbox().filter(owner=owner, client=client.name, sub=sub)
    unlinked = unlinked.exclude(pk=held.pk) if held else unlinked
    row = _find_account(candidate, client, sub)
    if unlinked.exists() or (row and row.status_reason == Reason.REQUESTED):
        return ImportOutcome.WITHDRAWN
    is_linked = row and row.is_active and client.has_issued(row) and _has_readable_token(row)
    return ImportOutcome.LINKED if is_linked else None


def _has_readable_token(row: GoogleAccount) -> bool:
    try:
        row.unseal_token("refresh_token")
    except TokenUndecryptableError:
        return False
    return True


@sensitive_variables()
def _link_account(
    candidate: Candidate, client: OAuthClient, refresh_token: Secret
) -> ImportOutcome:
    owner = GoogleAccount(user_id=candidate.user_id).owner
    response = endpoints.refresh(client, refresh_token=refresh_token)
    # A rotated token replaces the one in the source, and must be stored or revoked. Without
    # rotation, the token in the source remains valid, even if the response repeats it.
    replaced = None if response.refresh_token == refresh_token else response.refresh_token
    sub = candidate.sub or response.unverified_sub
    held = None
    if replaced:
        using = router.db_for_write(GoogleAccount)
        held = hold_grant(client, sub, replaced, owner=owner, is_linked=False, using=using)
    try:
        with end_grant_on_failure(client, sub, replaced, owner=owner, is_linked=False, held=held):
            if response.problem:
                raise response.problem
            identity = _identify_account(candidate, client, response)
            outcome = _store_answer(candidate, client, identity, response, refresh_token, held=held)
        if replaced and not is_held(replaced, _list_accounts(candidate, client, identity.sub)):
            end_grant(client, identity.sub, replaced, owner=owner)
        return outcome
    finally:
        release_in_the_end(held)


@sensitive_variables()
def _store_answer(
    candidate: Candidate,
    client: OAuthClient,
    identity: Identity,
    response: TokenResponse,
    refresh_token: Secret,
    *,
    held: HeldGrant | None,
) -> ImportOutcome:
    kept = response.refresh_token or refresh_token
    user = get_user_model()(pk=candidate.user_id)
    answer = replace(response, refresh_token=kept)
    using = router.db_for_write(GoogleAccount)

    def store() -> ImportOutcome:
        known = _find_reason_to_skip(candidate, client, identity.sub, held=held)
        if known:
            return known
        row = _find_account(candidate, client, identity.sub)

        def save() -> bool:
            account = save_grant(
                user,
                client,
                identity,
                answer,
                requested_scopes=(),
                seen=row.grant_version if row else 0,
            )
            return account.unseal_token("refresh_token") == kept

        if held:
            is_ours = held.store(save)
        else:
            with transaction.atomic(using=using):
                is_ours = save()
        return ImportOutcome.IMPORTED if is_ours else ImportOutcome.LINKED

    return run_durably(store, using=using)


@sensitive_variables()
def _identify_account(
    candidate: Candidate, client: OAuthClient, response: TokenResponse
) -> Identity:
    """Return the identity of the account, from the provider or else from the source.

    Raises:
        IDTokenError, UserinfoError: when neither identifies it, or they contradict each other.
    """
    if client.identity != "id_token":
        identity = identify_user(client, response, nonce=None)
        if client.identity == "userinfo" and candidate.sub not in {"", identity.sub}:
            raise UserinfoError("It belongs to another account than its source states.")
        return identity
    if response.id_token:
        identity = verify_id_token(client, response.id_token, nonce=None)
        if candidate.sub and candidate.sub != identity.sub:
            raise IDTokenError("It belongs to another account than its source states.")
        return identity
    if not candidate.sub or client.hosted_domains:
        raise IDTokenError("Its scopes do not include openid.")
    return Identity(
        sub=candidate.sub,
        email=candidate.email,
        email_verified=False,
        name="",
        picture="",
        hosted_domain="",
    )

"""The state before two operations begin, and what must hold afterwards."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection

from django_google_link.accounts.authorization_requests import PendingAuthorization
from django_google_link.conf.clients import get_client
from django_google_link.encryption.key import Key
from django_google_link.exceptions import GoogleLinkError
from django_google_link.models import GoogleAccount, PendingRevocation, Status, TokenName
from django_google_link.scopes import IDENTITY_SCOPES
from django_google_link.secret import Secret
from django_google_link.testing import FakeGoogle, FakeUser, travel
from tests.support.constants import CALENDAR, CALLBACK
from tests.support.times import in_seconds
from tests.support.urls import query_of

SCOPES = (*IDENTITY_SCOPES, CALENDAR)
USERS = ("anna", "ben", "carl", "dora")
HOLDERS = ("g1", "g2", "g3", "g4")
#: The tables through which the workers can affect each other.
TABLES = tuple(
    f'"{model._meta.db_table}"'
    for model in (*apps.get_app_config("google_link").get_models(), get_user_model())
)
#: The first link has the greatest key, and the second one the smallest. So locks that are not
#: taken in the order of the keys are taken in different orders, and can deadlock.
_KEYS = (2**128 - 1, 0)


@dataclass(frozen=True, kw_only=True)
class Consent:
    """What a user's browser brings back from Google."""

    user: Any
    holder: FakeUser
    pending: PendingAuthorization
    code: Secret


class World:
    """Four users, four Google accounts, and the links between them.

    Args:
        google: the server that has the accounts.
        old_key: the key that has sealed the tokens, which is not the newest.

    Attributes:
        callers_own: how often a statement of the caller's own has lost a race.
    """

    def __init__(self, google: FakeGoogle, old_key: Key) -> None:
        self.google = google
        self.callers_own = 0
        self._old_key = old_key
        self._holders: dict[str, FakeUser] = {}
        self._rows: dict[tuple[str, str], Any] = {}
        self._users: dict[str, Any] = {}

    def begin(self, links: Iterable[tuple[str, str]]) -> None:
        """Reset everything, and link these users to these Google accounts."""
        for holder in self._holders.values():
            self.google.remove_user(holder)
        self.google.clear_requests()
        self.callers_own = 0
        self._holders = {name: self.google.add_user(f"{name}@gmail.com") for name in HOLDERS}
        with connection.cursor() as cursor:
            cursor.execute("; ".join(f"DELETE FROM {table}" for table in TABLES))
        model = get_user_model()
        users = model._base_manager.bulk_create([model(username=name) for name in USERS])
        self._users = dict(zip(USERS, users, strict=True))
        self._rows = {}
        for user, holder in links:
            self._rows[user, holder] = self._make_row(user, holder)
        GoogleAccount.objects.bulk_create(self._rows.values())

    def user(self, name: str) -> Any:
        """Return a user as created at the start."""
        return self._users[name]

    def key_of(self, link: tuple[str, str]) -> Any:
        """Return the primary key of a link."""
        return self._rows[link].pk

    def consent(self, user: str, holder: str) -> Consent:
        """Let a user give consent at Google, and return what the browser brings back."""
        owner, who = self._users[user], self._holders[holder]
        # Google shows no consent page for scopes that are granted already, which saves time.
        self.google.grant(who, SCOPES)
        pending = PendingAuthorization(
            user=str(owner.pk),
            client="default",
            scopes=list(SCOPES),
            required=list(SCOPES),
            return_url="/",
            redirect_uri=CALLBACK,
            account=who.sub,
            is_further=any(name == user for name, _ in self._rows),
        )
        back = self.google.consent(pending.authorization_url("state"), user=who)
        return Consent(user=owner, holder=who, pending=pending, code=Secret(query_of(back)["code"]))

    def find_faults(self) -> list[str]:
        """Return what must not be the case, in the tables or at Google."""
        rows = list(GoogleAccount.objects.order_by("pk"))
        outbox = list(PendingRevocation.objects.order_by("pk"))
        faults = [*self._find_defaults(rows), *_find_tokens([*rows, *outbox])]
        faults += self._find_dead(rows)
        faults += self._find_orphans({row.sub for row in (*rows, *outbox)})
        if outbox:
            with travel(days=2):
                call_command("google_link_revoke_pending", workers=1, stdout=io.StringIO())
            later = [*self._find_dead(rows), *self._find_orphans({row.sub for row in rows})]
            faults += [f"{fault}, after the command" for fault in later if fault not in faults]
        return faults

    def has_link(self, user: Any, holder: FakeUser) -> bool:
        """Return whether a user has an active link to this Google account."""
        links = GoogleAccount.objects.filter(user_id=user.pk, sub=holder.sub)
        return links.filter(status=Status.ACTIVE).exists()

    def _make_row(self, user: str, holder: str) -> GoogleAccount:
        who, client = self._holders[holder], get_client()
        tokens = self.google.grant(who, SCOPES)
        row = GoogleAccount(
            user=self._users[user],
            client=client.name,
            issuer=client.issuer,
            client_id=client.client_id,
            sub=who.sub,
            email=who.email,
            email_verified=True,
            is_default=not any(name == user for name, _ in self._rows),
            pk=UUID(int=_KEYS[len(self._rows)], version=4),
            granted_scopes=sorted(SCOPES),
            refresh_token_scopes=sorted(SCOPES),
            access_token_expires_at=in_seconds(600),
        )
        seal = self._old_key.seal
        row.sealed_refresh_token = seal(
            Secret(tokens.refresh_token), row.binding_of("refresh_token")
        )
        row.sealed_access_token = seal(Secret(tokens.access_token), row.binding_of("access_token"))
        return row

    def _name(self, key: Any) -> str:
        return next((name for name, user in self._users.items() if user.pk == key), "nobody")

    def _find_defaults(self, rows: list[GoogleAccount]) -> list[str]:
        counts = Counter(row.user_id for row in rows if row.is_default)
        return [
            f"{self._name(owner)} has {count} defaults"
            for owner, count in counts.items()
            if count > 1
        ]

    def _find_orphans(self, known: set[str]) -> list[str]:
        return [
            f"the grant of {name} lives at Google and is in no table"
            for name, holder in self._holders.items()
            if self.google.granted_scopes(holder) is not None and holder.sub not in known
        ]

    def _find_dead(self, rows: list[GoogleAccount]) -> list[str]:
        # Without a revocation, every grant is still valid.
        if not self.google.requests_to("revoke"):
            return []
        return [
            f"the dead grant {row.email} of {self._name(row.user_id)} is called active"
            for row in rows
            if row.status == Status.ACTIVE and not self._lives(row)
        ]

    def _lives(self, row: GoogleAccount) -> bool:
        try:
            token = row.unseal_token("refresh_token")
        except GoogleLinkError:
            return True  # _find_tokens reports it.
        client = self.google.client
        form = {
            "grant_type": "refresh_token",
            "refresh_token": token.reveal() if token else "",
            "client_id": client.client_id,
            "client_secret": client.client_secret,
        }
        with closing(HTTPConnection(urlsplit(self.google.url).netloc)) as google:
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            google.request("POST", "/token", urlencode(form), headers)
            return google.getresponse().status == 200


def _find_tokens(rows: list[Any]) -> list[str]:
    names: tuple[TokenName, ...] = ("refresh_token", "access_token")
    faults = []
    for row in rows:
        for name in names:
            try:
                row.unseal_token(name)
            except GoogleLinkError as error:
                faults.append(f"a {name} of {row._meta.verbose_name} does not open: {error}")
    return faults

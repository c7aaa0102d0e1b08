"""Users who do everything at once, in many threads, and a record of what they were told."""

from __future__ import annotations

import itertools
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DatabaseError, connections
from django.test import Client
from django.urls import reverse

import django_google_link
from django_google_link.accounts.access_tokens import check_grant
from django_google_link.accounts.authorize_links import AuthorizeRequest
from django_google_link.exceptions import ConsentRequiredError, GoogleLinkError, GrantLostError
from django_google_link.models import GoogleAccount
from django_google_link.operations.refresh import RefreshOutcome, refresh_account
from django_google_link.operations.rotate_keys import RotationOutcome, rotate
from django_google_link.scopes import IDENTITY_SCOPES
from django_google_link.services import access_token
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.constants import CALENDAR, DRIVE, TASKS
from tests.support.times import in_seconds

_PACKAGE = str(Path(django_google_link.__file__).parent)
_USERS, _HOLDERS = 12, 12
_SCOPES = ((CALENDAR,), (CALENDAR, TASKS), (CALENDAR, DRIVE))
_MOST_REDIRECTS = 4
#: The outcomes of a refresh and of a rotation while Google and the keys work.
_FINE = {
    RefreshOutcome.REFRESHED,
    RefreshOutcome.SHARED,
    RefreshOutcome.LOST,
    RotationOutcome.ROTATED,
    RotationOutcome.CHANGED,
}


@dataclass(frozen=True, kw_only=True)
class Change:
    """A link that was created or removed between two moments.

    Attributes:
        user: the primary key of its user.
        sub: the subject of the Google account; ``None`` for all links of this user.
        begun: the number of the moment before.
        ended: the number of the moment after.
    """

    user: Any
    sub: str | None
    begun: int
    ended: int


class Chaos:
    """Users with their browsers, an operator who rotates keys, and an application that deletes.

    Args:
        google: the server that has the accounts.
        seed: the seed of each thread's random choices.
    """

    def __init__(self, google: FakeGoogle, *, seed: int) -> None:
        self.done: Counter[str] = Counter()  # by operation, or "refused"
        self.errors: Counter[str] = Counter()
        self.callers_own = 0
        self.holders = [google.add_user(f"holder{n}@gmail.com") for n in range(_HOLDERS)]
        self._google = google
        self._seed = seed
        self._names = itertools.count()
        self._moments = itertools.count()
        self._users = [self._make_user().pk for _ in range(_USERS)]
        self._made: list[Change] = []
        self._taken: list[Change] = []
        self._rotating = threading.Lock()
        self._stopped = threading.Event()

    def run(self, *, threads: int, seconds: float) -> None:
        """Let this many threads work for this many seconds."""
        workers = [threading.Thread(target=self._work, args=[n]) for n in range(threads)]
        timer = threading.Timer(seconds, self._stopped.set)
        for worker in (timer, *workers):
            worker.start()
        for worker in (timer, *workers):
            worker.join()

    def list_acknowledged(self) -> list[Change]:
        """Return the links that were acknowledged to users and not removed since."""
        return [
            made
            for made in self._made
            if not any(
                taken.user == made.user
                and taken.sub in {None, made.sub}
                and taken.ended > made.begun
                for taken in self._taken
            )
        ]

    def list_useless(self) -> list[str]:
        """Return the faults of all links; for each, Google is asked for a token."""
        links = {(row.user_id, row.sub): row for row in GoogleAccount.objects.all()}
        missing = {
            f"{made.sub} of {made.user} is not linked"
            for made in self.list_acknowledged()
            if (made.user, made.sub) not in links
        }
        return [*missing, *filter(None, map(_find_fault, links.values()))]

    def list_orphans(self) -> list[str]:
        """Return the accounts whose grants are valid at Google and unknown here."""
        known = set(GoogleAccount.objects.values_list("sub", flat=True))
        return [
            holder.email
            for holder in self.holders
            if self._google.granted_scopes(holder) is not None and holder.sub not in known
        ]

    def _work(self, number: int) -> None:
        random = Random(f"{self._seed},{number}")
        acts: dict[Callable[[Random], str], int] = {
            self._link: 5,
            self._relink: 2,
            self._unlink: 2,
            self._make_default: 3,
            self._reassign: 2,
            self._refresh: 3,
            self._rotate: 1,
            self._delete: 1,
        }
        try:
            while not self._stopped.is_set():
                [act] = random.choices([*acts], [*acts.values()])
                self._do(act, random)
        finally:
            connections.close_all()

    def _do(self, act: Callable[[Random], str], random: Random) -> None:
        name = act.__name__.strip("_")
        try:
            outcome = act(random)
        except Exception as error:
            place = _find_place(error)
            if isinstance(error, DatabaseError) and not place:
                self.callers_own += 1
                return
            text = next(iter(str(error).splitlines()), "")
            self.errors[f"{name}: {type(error).__name__} in {place}: {text:.200}"] += 1
        else:
            self.done[outcome or name] += 1

    def _make_user(self) -> Any:
        return get_user_model()._base_manager.create(username=f"user{next(self._names)}")

    def _find_user(self, key: Any) -> Any:
        return get_user_model()._base_manager.filter(pk=key).first()

    def _browser_of(self, user: Any) -> Client:
        browser = Client()
        browser.force_login(user)
        return browser

    def _choose_row(self, random: Random) -> GoogleAccount | None:
        rows = list(GoogleAccount.objects.order_by("linked_at", "pk"))
        return random.choice(rows) if rows else None

    def _link(self, random: Random) -> str:
        user, holder = self._find_user(random.choice(self._users)), random.choice(self.holders)
        return self._authorize(user, holder, random.choice(_SCOPES)) if user else "nothing to do"

    def _relink(self, random: Random) -> str:
        row = self._choose_row(random)
        user = row and self._find_user(row.user_id)
        if row is None or user is None:
            return "nothing to do"
        holder = next(holder for holder in self.holders if holder.sub == row.sub)
        return self._authorize(user, holder, random.choice(_SCOPES), account=row.sub)

    def _authorize(
        self, user: Any, holder: FakeUser, scopes: tuple[str, ...], *, account: str = ""
    ) -> str:
        """Go through the flow, as often as the site sends the user to Google."""
        start = AuthorizeRequest(
            user=str(user.pk),
            host="testserver",
            client="default",
            scopes=(*IDENTITY_SCOPES, *scopes),
            required=scopes,
            return_url=reverse("google_link:accounts"),
            account=account,
            add=not account,
        )
        browser = self._browser_of(user)
        begun, visits = next(self._moments), 0
        response: Any = browser.get(start.url())
        while visits < _MOST_REDIRECTS and response.headers.get("Location", "").startswith(
            self._google.url
        ):
            visits += 1
            back = urlsplit(self._google.consent(response["Location"], user=holder))
            response = browser.get(f"{back.path}?{back.query}")
        if response.headers.get("Location") != start.return_url:
            return self._note_refusal(response)
        if visits:
            made = Change(user=user.pk, sub=holder.sub, begun=begun, ended=next(self._moments))
            self._made.append(made)
        return "" if visits else "nothing to do"

    def _note_refusal(self, response: Any) -> str:
        if response.status_code >= 500:
            raise AssertionError(f"{response.status_code}: {response.content[:2000]!r}")
        return "refused"

    def _post(self, random: Random, name: str) -> tuple[str, GoogleAccount | None]:
        row = self._choose_row(random)
        user = row and self._find_user(row.user_id)
        if row is None or user is None:
            return "nothing to do", None
        response: Any = self._browser_of(user).post(reverse(f"google_link:{name}", args=[row.pk]))
        if response.status_code == 302 and "login" not in response["Location"]:
            return "", row
        return self._note_refusal(response), row

    def _unlink(self, random: Random) -> str:
        begun = next(self._moments)
        outcome, row = self._post(random, "unlink")
        if row:
            self._note_taken(row.user_id, row.sub, begun)
        return outcome

    def _make_default(self, random: Random) -> str:
        return self._post(random, "make-default")[0]

    def _reassign(self, random: Random) -> str:
        row, receiver = self._choose_row(random), self._find_user(random.choice(self._users))
        if row is None or receiver is None:
            return "nothing to do"
        former, begun = row.user_id, next(self._moments)
        try:
            row.reassign(receiver)
        except (ValueError, GoogleAccount.DoesNotExist, get_user_model().DoesNotExist):
            return "refused"
        finally:
            self._note_taken(former, row.sub, begun)
        return ""

    def _refresh(self, random: Random) -> str:
        row = self._choose_row(random)
        if row is None:
            return "nothing to do"
        if random.random() < 0.5:
            outcome = refresh_account(row, leeway=timedelta(hours=2))
            assert outcome in _FINE, outcome
            return ""
        GoogleAccount.objects.filter(pk=row.pk).update(access_token_expires_at=in_seconds(-60))
        row.access_token_expires_at = in_seconds(-60)
        try:
            access_token(row)
        except ConsentRequiredError:
            return "refused"
        return ""

    def _rotate(self, random: Random) -> str:
        # One operator changes the keys at a time.
        with self._rotating:
            keys = settings.GOOGLE_LINK["ENCRYPTION_KEYS"]
            settings.GOOGLE_LINK["ENCRYPTION_KEYS"] = keys[::-1]
            outcomes = set(rotate(workers=1))
        assert outcomes <= _FINE, outcomes
        return ""

    def _delete(self, random: Random) -> str:
        number = random.randrange(_USERS)
        key, begun = self._users[number], next(self._moments)
        user = self._find_user(key)
        self._users[number] = self._make_user().pk
        if user is None:
            return "nothing to do"
        try:
            user.delete()
        except DatabaseError:
            # Here the caller deletes, and a statement of the caller's own has lost a race.
            self.callers_own += 1
        finally:
            self._note_taken(key, None, begun)
        return ""

    def _note_taken(self, user: Any, sub: str | None, begun: int) -> None:
        self._taken.append(Change(user=user, sub=sub, begun=begun, ended=next(self._moments)))


def _find_fault(row: GoogleAccount) -> str:
    try:
        check_grant(row)
        access_token(row)
    except GrantLostError as error:
        return f"{row.email} of {row.user_id} is dead: {error.reason}"
    except GoogleLinkError as error:
        return f"{row.email} of {row.user_id} has no token: {error}"
    return ""


def _find_place(error: BaseException) -> str:
    """Return where in the package an error was raised; empty if outside of it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(_PACKAGE)]
    return f"{Path(ours[-1].filename).name}, {ours[-1].name}" if ours else ""

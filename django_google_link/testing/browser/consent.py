"""Acts as the user at the consent page, over HTTP."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import requests

from ..provider.errors import FakeGoogleError
from ..provider.scopes import IDENTITY, normalize_scopes
from .html_form import Page, parse_page

if TYPE_CHECKING:
    from ..provider.identities import FakeUser

TIMEOUT = 30.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The user's choices.

    Attributes:
        user: the account to choose; ``None`` for the one that is preselected.
        grant: the scopes to leave ticked; ``None`` for all.
        deny: whether to press Cancel.
    """

    user: FakeUser | None = None
    grant: Collection[str] | None = None
    deny: bool = False


def give_consent(url: str, answer: Answer) -> str:
    """Open an authorization URL, submit the page if there is one, and return the redirect URL.

    Raises:
        FakeGoogleError: if an error page is shown, or the page does not offer these choices.
    """
    with requests.Session() as session:
        # A proxy in the environment cannot reach this machine's loopback.
        session.trust_env = False
        response = session.get(url, allow_redirects=False, timeout=TIMEOUT)
        if response.is_redirect:
            return response.headers["Location"]
        page = parse_page(response.text)
        if page.relayed:
            return page.relayed
        if response.status_code != 200 or not page.action:
            raise FakeGoogleError(page.text)
        response = session.post(
            urljoin(url, page.action),
            data=_fill_form(page, answer),
            allow_redirects=False,
            timeout=TIMEOUT,
        )
        if response.is_redirect:
            return response.headers["Location"]
        page = parse_page(response.text)
        if not page.relayed:
            raise FakeGoogleError(page.text)
        return page.relayed


def _fill_form(page: Page, answer: Answer) -> list[tuple[str, str]]:
    if answer.deny:
        return [*page.hidden, ("decision", "cancel")]
    return [
        *page.hidden,
        ("account", _choose_account(page, answer.user)),
        *(("scope", scope) for scope in _choose_scopes(page, answer.grant)),
        ("decision", "allow"),
    ]


def _choose_account(page: Page, user: FakeUser | None) -> str:
    if user is None:
        if not page.radios:
            raise FakeGoogleError('There is no account: call add_user("anna@gmail.com") first.')
        if page.selected_radio is None:
            raise FakeGoogleError("No account is preselected: pass user=.")
        return page.selected_radio
    if user.sub not in page.radios:
        raise FakeGoogleError(f"The page does not offer the account {user.email}.")
    return user.sub


def _choose_scopes(page: Page, grant: Collection[str] | None) -> list[str]:
    if grant is None:
        return page.checkboxes
    wanted = set(normalize_scopes(grant)) - IDENTITY
    if not wanted <= set(page.checkboxes):
        missing = " ".join(sorted(wanted.difference(page.checkboxes)))
        raise FakeGoogleError(f"The page does not offer these scopes: {missing}")
    return [scope for scope in page.checkboxes if scope in wanted]

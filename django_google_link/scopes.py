"""Scopes: parsing them, and describing them to users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

PREFIX = "https://www.googleapis.com/auth/"

#: Requested at every link, to identify the account (OpenID Connect Core section 5.4).
IDENTITY_SCOPES = ("openid", "email", "profile")

_ALIASES = {f"{PREFIX}userinfo.email": "email", f"{PREFIX}userinfo.profile": "profile"}

_DESCRIPTIONS: dict[str, Promise] = {
    "openid": _("Know which account you linked"),
    "email": _("See your e-mail address"),
    "profile": _("See your name and picture"),
    f"{PREFIX}calendar": _("See, change and delete all your calendars"),
    f"{PREFIX}calendar.readonly": _("See your calendars and their events"),
    f"{PREFIX}calendar.events": _("See and change the events on your calendars"),
    f"{PREFIX}calendar.events.readonly": _("See the events on your calendars"),
    f"{PREFIX}contacts": _("See, change and delete your contacts"),
    f"{PREFIX}contacts.readonly": _("See your contacts"),
    f"{PREFIX}documents": _("See, change and delete all your Google Docs documents"),
    f"{PREFIX}documents.readonly": _("See all your Google Docs documents"),
    f"{PREFIX}drive": _("See, change and delete all your files in Google Drive"),
    f"{PREFIX}drive.appdata": _("Store this site’s own data in your Google Drive"),
    f"{PREFIX}drive.file": _(
        "See and change the files in Google Drive that you use with this site"
    ),
    f"{PREFIX}drive.metadata.readonly": _(
        "See the names and details of your files in Google Drive"
    ),
    f"{PREFIX}drive.readonly": _("See all your files in Google Drive"),
    "https://mail.google.com/": _("Read, write, send and delete all your mail"),
    f"{PREFIX}gmail.modify": _("Read, write and send mail, but not delete it permanently"),
    f"{PREFIX}gmail.readonly": _("Read your mail"),
    f"{PREFIX}gmail.send": _("Send mail on your behalf"),
    f"{PREFIX}spreadsheets": _("See, change and delete all your Google Sheets spreadsheets"),
    f"{PREFIX}spreadsheets.readonly": _("See all your Google Sheets spreadsheets"),
    f"{PREFIX}tasks": _("See, change and delete your tasks"),
    f"{PREFIX}tasks.readonly": _("See your tasks"),
    f"{PREFIX}youtube": _("Manage your YouTube account"),
    f"{PREFIX}youtube.readonly": _("See your YouTube account"),
    f"{PREFIX}youtube.upload": _("Upload videos to your YouTube channel"),
}


def parse_scopes(scopes: str | Iterable[str]) -> tuple[str, ...]:
    """Return scopes in their normal form: in order, without duplicates, aliases replaced.

    Args:
        scopes: one string, separated by spaces (RFC 6749 section 3.3), or an iterable of strings.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(scopes, str):
        return _normalize_scopes(tuple(scopes.split()))
    if not isinstance(scopes, Iterable) or isinstance(scopes, bytes | Mapping):
        raise TypeError(f"Scopes must be a list of strings, not {scopes!r}.")
    items = tuple(scopes)
    if not all(isinstance(item, str) for item in items):
        raise TypeError(f"Scopes must be strings, not {list(items)!r}.")
    return _normalize_scopes(items)


@lru_cache(maxsize=1024)
def _normalize_scopes(items: tuple[str, ...]) -> tuple[str, ...]:
    # Cached: each request of a view parses the same few lists.
    names = " ".join(items).split()
    return tuple(dict.fromkeys(_ALIASES.get(name, name) for name in names))


def describe_scope(scope: str) -> str:
    """Return a description of the scope for the user, or its short name if there is none."""
    return str(_DESCRIPTIONS.get(scope, scope.removeprefix(PREFIX)))

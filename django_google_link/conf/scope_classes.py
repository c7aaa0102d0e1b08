"""Google's classification of scopes, which decides what an app has to have verified.

From Google's pages "Choose … API scopes" and
https://support.google.com/cloud/answer/13464325 (restricted scopes). Scopes that they do not list
are ``unknown``: the Google console shows the class of every scope under *Data Access*.
"""

from __future__ import annotations

from typing import Literal

from ..scopes import PREFIX

ScopeClass = Literal["non-sensitive", "sensitive", "restricted", "unknown"]

_CLASSES: dict[ScopeClass, str] = {
    "non-sensitive": """
        drive.appdata drive.appfolder drive.file drive.install gmail.labels
        gmail.addons.current.action.compose gmail.addons.current.message.action""",
    "sensitive": """
        calendar calendar.readonly calendar.events calendar.events.readonly
        contacts contacts.readonly contacts.other.readonly directory.readonly
        documents documents.readonly presentations presentations.readonly
        spreadsheets spreadsheets.readonly forms.body forms.body.readonly
        forms.responses.readonly tasks tasks.readonly drive.apps.readonly
        gmail.send gmail.addons.current.message.metadata gmail.addons.current.message.readonly
        youtube youtube.readonly youtube.upload youtube.force-ssl""",
    "restricted": """
        https://mail.google.com/ gmail.modify gmail.readonly gmail.metadata gmail.compose
        gmail.insert gmail.settings.basic gmail.settings.sharing
        drive drive.readonly drive.metadata drive.metadata.readonly drive.activity
        drive.activity.readonly drive.scripts drive.meet.readonly""",
}

_CLASS_OF: dict[str, ScopeClass] = {
    name if "://" in name else PREFIX + name: kind
    for kind, names in _CLASSES.items()
    for name in names.split()
}

#: The scopes that Google's pages list, which are far from all.
KNOWN_SCOPES = frozenset(_CLASS_OF)


def classify_scope(scope: str) -> ScopeClass:
    """Return Google's class of a scope, or ``unknown`` if its pages do not list it."""
    return _CLASS_OF.get(scope, "unknown")

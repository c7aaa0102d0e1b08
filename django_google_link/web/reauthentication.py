"""Reauthentication before an account is linked or unlinked, if the project requires it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from ..conf.settings import conf
from ..exceptions import SettingsError


def ask_to_reauthenticate(request: HttpRequest) -> HttpResponse | None:
    """Return the response of ``REAUTHENTICATION``, or ``None`` if the user may go on.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) if the function cannot be imported, or returns
            something else. The user may not go on then.
    """
    ask = conf.reauthentication
    response = ask(request) if ask else None
    if response is None or isinstance(response, HttpResponseBase):
        return response  # type: ignore[return-value]
    raise SettingsError(
        "E061",
        f'The function of GOOGLE_LINK["REAUTHENTICATION"] returned a {type(response).__name__}.',
        hint="Return the response to send instead, or None.",
    )

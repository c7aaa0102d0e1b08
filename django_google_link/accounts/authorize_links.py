"""Signed requests to the authorize view, which visitors cannot forge."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Self

from django.core import signing
from django.db import router
from django.urls import reverse
from django.utils.http import urlencode

from ..conf.validators import normalize_host
from ..exceptions import StateError
from ..models import GoogleAccount
from .tenants import name_tenant
from .threads import is_in_event_loop

#: Seconds: a page that contains such a link may stay open for a day.
MAX_AGE = 24 * 3600

#: Seconds: the longest validity of a link that is sent to a user.
LONGEST_AGE = 30 * 24 * 3600

_SALT = "django_google_link.authorize"


@dataclass(frozen=True, kw_only=True)
class AuthorizeRequest:
    """A request to link an account, with everything that must not come from a query string.

    Args:
        user: the primary key, as text, of the user it is for.
        host: the host of the site that signed it; a site may have several, for different users.
        client: the name of the OAuth client.
        scopes: all requested scopes.
        required: the scopes without which the page behind ``return_url`` does not work.
        return_url: where to go afterwards.
        account: the ``sub`` of the expected account; empty if any account will do.
        add: whether a further account is wanted although one is linked.
        renew: whether to ask for consent although nothing is missing, because the grant expires
            soon.
        max_age: how long the signed request is valid, in seconds.
    """

    user: str
    host: str
    client: str
    scopes: tuple[str, ...]
    required: tuple[str, ...]
    return_url: str
    account: str = ""
    add: bool = False
    renew: bool = False
    max_age: int = MAX_AGE

    def sign(self) -> str:
        """Return this request, signed. A front end passes it on to start the link."""
        content = asdict(self)
        if tenant := _name_tenant():
            content["tenant"] = tenant
        return signing.dumps(content, salt=_SALT, compress=True)

    def url(self) -> str:
        """Return the URL of the authorize view with this request, signed."""
        return f"{reverse('google_link:authorize')}?{urlencode({'request': self.sign()})}"

    @classmethod
    def unsign(cls, text: str, *, user: str, host: str) -> Self:
        """Verify and read a signed request.

        Args:
            text: the signed request.
            user: the primary key, as text, of the user who is logged in now.
            host: the host of the current request, as validated by Django.

        Raises:
            StateError: when it was not signed by this site, has expired, or is for another user,
                host or tenant.
        """
        try:
            content = signing.loads(text, salt=_SALT, max_age=LONGEST_AGE)
        except signing.SignatureExpired:
            raise StateError("This link has expired.") from None
        except signing.BadSignature:
            raise StateError("This link was not created by this site.") from None
        try:
            tenant = content.pop("tenant", "")
            request = cls(**content)
        except (AttributeError, TypeError):
            raise StateError("This link was created by another version of this site.") from None
        cls._require_age(text, request.max_age)
        if request.user != user:
            raise StateError("This link was created for another user of this site.")
        if normalize_host(request.host) != normalize_host(host):
            raise StateError("This link was created for another host of this site.")
        if tenant and tenant != _name_tenant():
            raise StateError("This link was created for another tenant of this site.")
        return request

    @staticmethod
    def _require_age(text: str, max_age: int) -> None:
        """Check the maximum age that a signed request states for itself."""
        try:
            signing.loads(text, salt=_SALT, max_age=max_age)
        except signing.SignatureExpired:
            raise StateError("This link has expired.") from None


def _name_tenant() -> str:
    """Return the current tenant, as far as it is known here: users' primary keys are per tenant."""
    return "" if is_in_event_loop() else name_tenant(router.db_for_write(GoogleAccount))

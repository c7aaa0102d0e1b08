"""What our own code asks the authorize view to do, signed: a visitor cannot make one up."""

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

#: Seconds: a page with such a link in it may lie open for a day.
MAX_AGE = 24 * 3600

#: Seconds: for so long a link that is sent to somebody may be good.
LONGEST_AGE = 30 * 24 * 3600

_SALT = "django_google_link.authorize"


@dataclass(frozen=True, kw_only=True)
class AuthorizeRequest:
    """A request to link, with everything that must not come from a query string.

    Args:
        user: the primary key, as text, of the user it is for.
        host: of the site that has signed it: a site may have several, each for other people.
        client: the name of the OAuth client.
        scopes: all that is asked for.
        required: those without which the page behind ``return_url`` does not work.
        return_url: where to go afterwards.
        account: the ``sub`` of the account that is expected, or nothing.
        add: that a further account is wanted, though one is linked.
        renew: that consent is wanted anew, though nothing is missing: the grant ends soon.
        max_age: seconds for which it is good once it is signed.
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
        """Return this request signed: what a front end hands in to start the link."""
        content = asdict(self)
        if tenant := _name_tenant():
            content["tenant"] = tenant
        return signing.dumps(content, salt=_SALT, compress=True)

    def url(self) -> str:
        """Return the address of the authorize view, with this request signed in it."""
        return f"{reverse('google_link:authorize')}?{urlencode({'request': self.sign()})}"

    @classmethod
    def unsign(cls, text: str, *, user: str, host: str) -> Self:
        """Read a signed request.

        Args:
            user: the primary key, as text, of the user who is logged in now.
            host: of the request, as Django has checked it.

        Raises:
            StateError: when it was not signed here, is too old, or is meant for another user.
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
        """Check that a signed request is not older than it was made for."""
        try:
            signing.loads(text, salt=_SALT, max_age=max_age)
        except signing.SignatureExpired:
            raise StateError("This link has expired.") from None


def _name_tenant() -> str:
    """Return the tenant whose users are meant by their primary keys, as far as it is known here."""
    return "" if is_in_event_loop() else name_tenant(router.db_for_write(GoogleAccount))

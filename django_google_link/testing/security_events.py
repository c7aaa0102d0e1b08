"""Signs security events, and sends them to the site."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from .console import Console
from .provider.id_tokens import IDTokenTampering
from .provider.identities import FakeClient, FakeUser
from .provider.security_events import CONTENT_TYPE, EVENT_TYPES, name_token, sign_events

if TYPE_CHECKING:
    from django.http import HttpResponse
    from django.test import Client


class SecurityEvents(Console):
    """The part of ``FakeGoogle`` that plays Cross-Account Protection."""

    @property
    def event_stream(self) -> dict[str, Any]:
        """The registered stream, with ``url``, ``events_requested`` and ``status``."""
        with self._provider.lock:
            return dict(vars(self._provider.stream))

    def security_event_token(
        self,
        event: str = "",
        *,
        user: FakeUser | None = None,
        refresh_token: str = "",
        algorithm: str = "hash_base64_sha512_sha512",
        client: FakeClient | None = None,
        details: Mapping[str, Any] | None = None,
        events: Mapping[str, Any] | None = None,
        issued_at: float | None = None,
        jti: str | None = None,
        claims: Mapping[str, Any] | None = None,
        remove: Iterable[str] = (),
        header: Mapping[str, Any] | None = None,
        remove_header: Iterable[str] = (),
        payload: Any = ...,
        foreign_key: bool = False,
        alg: str = "RS256",
    ) -> str:
        """Return a security event token (RFC 8417), signed like Google's.

        Args:
            event: the type, such as ``"account-disabled"``, or the URI of any other.
            user: the account concerned.
            refresh_token: the token concerned, for ``"token-revoked"``.
            algorithm: how the token is identified: by this hash, or by ``"prefix"``.
            client: the client in ``aud``.
            details: additional members of the event, such as ``{"reason": "hijacking"}``.
            events: the complete ``events`` claim; replaces all of the above except ``client``.
            issued_at: the Unix time in seconds; by default now.
            jti: the id; random by default.
            claims: claims to set, to any JSON value.
            remove: claims to leave out.
            header: header parameters to set, to any JSON value.
            remove_header: header parameters to leave out.
            payload: signed instead of the claims, if given; see ``tamper_next_id_token()``.
            foreign_key: sign with a key that is not published, using the id of one that is.
            alg: another algorithm; see ``tamper_next_id_token()``.
        """
        if events is None:
            subject = self._describe_subject(user, refresh_token, algorithm)
            events = {EVENT_TYPES.get(event, event): {**subject, **(details or {})}}
        tampering = IDTokenTampering(
            claims=dict(claims or {}),
            remove=tuple(remove),
            header={"typ": "secevent+jwt", "alg": alg, **(header or {})},
            remove_header=tuple(remove_header),
            payload=payload,
            foreign_key=foreign_key,
            alg=alg,
        )
        return sign_events(
            self._provider,
            events,
            audience=(client or self.client).client_id,
            issued_at=issued_at,
            jti=jti,
            tampering=tampering,
        )

    def send_security_event(self, browser: Client, event: str = "", **options: Any) -> HttpResponse:
        """Send a security event to the site and return the response: 202 if it was accepted.

        Args:
            browser: Django's test client.
            event: as for :meth:`security_event_token`.
            options: its other arguments.
        """
        return self.push_security_event(browser, self.security_event_token(event, **options))

    def push_security_event(self, browser: Client, token: str | bytes) -> HttpResponse:
        """Send a security event token, or any other body, as Google sends one (RFC 8935).

        Args:
            browser: Django's test client.
            token: the body.
        """
        # Imported late: the fake also runs without Django.
        from django.urls import reverse

        path = reverse("google_link:security-events")
        response = browser.post(path, data=token, content_type=CONTENT_TYPE)
        return cast("HttpResponse", response)

    def _describe_subject(
        self, user: FakeUser | None, refresh_token: str, algorithm: str
    ) -> dict[str, Any]:
        if refresh_token:
            return {"subject": name_token(refresh_token, algorithm)}
        if user is None:
            return {}
        issuer = f"{self.url}/"
        return {"subject": {"subject_type": "iss-sub", "iss": issuer, "sub": user.sub}}

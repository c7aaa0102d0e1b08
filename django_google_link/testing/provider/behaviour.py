"""How a fake Google behaves: attributes that are read for each request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from . import clock

_HALF_A_YEAR = 182 * 86_400


@dataclass(eq=False, repr=False)
class Behaviour:
    """How the fake Google behaves.

    The defaults are Google's known behaviour. If no page of Google's documents it, the default is
    the behaviour that demands more of the application.

    Attributes:
        now: returns the Unix time in seconds, by which tokens, codes and pages expire; by default
            that of a clock that ``travel()`` moves.
        delay: additional seconds for each token request.
        access_token_lifetime: seconds, sent as ``expires_in`` in token responses.
        refresh_token_lifetime: seconds, or ``None`` for no expiry. If set, token responses have
            ``refresh_token_expires_in``, like Google's for time-limited access.
        refresh_token_max_idle: seconds after which an unused refresh token expires, or ``None``
            for never. Google's limit is six months.
        max_refresh_tokens: the number of valid refresh tokens per user and client. Another one
            silently invalidates the oldest.
        certs_max_age: seconds for which the signing keys may be cached.
        sends_iss: whether authorization responses have ``iss`` (RFC 9207). Google's sometimes do.
        declares_iss: whether the discovery document says so. Google's does not.
        always_sends_refresh_token: whether every offline authorization results in a refresh token;
            otherwise only the first one does, and those according to the next two attributes.
        prompt_consent_sends_refresh_token: whether ``prompt=consent`` results in another refresh
            token. False is a fault that Google is not known to have.
        new_scopes_send_refresh_token: whether an authorization without ``prompt=consent`` results
            in another refresh token if new scopes are granted. Google does not document it.
        old_refresh_tokens_grow: whether a refresh token also covers scopes that the user grants to
            the client later. Google does not document it. If false, the response to a refresh lists
            the scopes that the token was issued for.
        refresh_sends_scope: whether responses to a refresh have ``scope``.
        refresh_sends_id_token: whether responses to a refresh have an ID token, if ``openid`` is
            among the scopes.
        rotates_refresh_tokens: whether each refresh replaces the refresh token (RFC 9700 section
            4.14.2). Google does not; other providers do.
        reuse_ends_family: whether using a replaced refresh token invalidates all tokens of the
            same authorization.
        revocation_ends_grant: whether revoking any token ends the user's grant for the whole
            project, like at Google. If false, revoking a refresh token invalidates the tokens of
            its authorization, revoking an access token only that token, and the scopes stay
            granted.
        metadata: the metadata that is published: ``"openid"`` (OpenID Connect Discovery, like
            Google's), ``"oauth"`` (RFC 8414), or ``""`` for none.
    """

    now: Callable[[], float] = field(default=clock.timestamp)
    delay: float = 0.0
    access_token_lifetime: int = 3599
    refresh_token_lifetime: int | None = None
    refresh_token_max_idle: int | None = _HALF_A_YEAR
    max_refresh_tokens: int = 100
    certs_max_age: int = 3600
    sends_iss: bool = False
    declares_iss: bool = False
    always_sends_refresh_token: bool = False
    prompt_consent_sends_refresh_token: bool = True
    new_scopes_send_refresh_token: bool = False
    old_refresh_tokens_grow: bool = False
    refresh_sends_scope: bool = True
    refresh_sends_id_token: bool = True
    rotates_refresh_tokens: bool = False
    reuse_ends_family: bool = False
    revocation_ends_grant: bool = True
    metadata: Literal["openid", "oauth", ""] = "openid"

"""How a fake Google behaves: plain attributes, read at each request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from . import clock

_HALF_A_YEAR = 182 * 86_400


@dataclass(eq=False, repr=False)
class Behaviour:
    """How the fake behaves until told otherwise.

    Each default is what Google is known to do. Where no page of Google's says, it is what asks
    more of the application.

    Attributes:
        now: the clock, in seconds since the epoch. Tokens, codes and pages expire by it; by
            default it is one that ``travel()`` moves.
        delay: seconds that each token request takes longer.
        access_token_lifetime: seconds; stands as ``expires_in`` in token responses.
        refresh_token_lifetime: seconds, or ``None`` for no end. When set, token responses carry
            ``refresh_token_expires_in``, as Google's do for time-limited access.
        refresh_token_max_idle: seconds after which a refresh token that nobody uses dies, or
            ``None`` for never. Google says six months.
        max_refresh_tokens: how many of a user for a client are alive; with one more the oldest
            dies silently.
        certs_max_age: seconds for which the signing keys may be cached.
        sends_iss: whether authorization responses carry ``iss`` (RFC 9207). Google does at times.
        declares_iss: whether the discovery document says that they do. Google's does not.
        always_sends_refresh_token: whether each offline authorization gives a refresh token, and
            not only the first one and those that the next two attributes let have one.
        prompt_consent_sends_refresh_token: whether ``prompt=consent`` gives a further refresh
            token. False is a fault that Google is not known for.
        new_scopes_send_refresh_token: whether an authorization without ``prompt=consent`` gives a
            further refresh token when scopes are granted that were not before. Google does not say.
        old_refresh_tokens_grow: whether a refresh token stands for scopes too that the user grants
            to the client later. Google does not say. If false, a refresh answers with the scopes
            that the token was issued for.
        refresh_sends_scope: whether answers to a refresh carry ``scope``.
        refresh_sends_id_token: whether answers to a refresh carry an ID token, if ``openid`` is
            among the scopes.
        rotates_refresh_tokens: whether each refresh gives a new refresh token and kills the old
            one (RFC 9700 section 4.14.2). Google does not; others do.
        reuse_ends_family: whether the use of a refresh token that was so replaced kills all tokens
            that came of the same authorization.
        revocation_ends_grant: whether revoking any token ends the user's grant to the whole
            project, as at Google. If false, a refresh token takes the tokens of its authorization
            with it, an access token nothing, and what was granted stays granted.
        metadata: what is published: ``"openid"`` (OpenID Connect Discovery), ``"oauth"`` (RFC
            8414), or ``""`` for nothing. Google publishes the first.
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

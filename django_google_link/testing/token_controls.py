"""Changes grants and tokens at the fake Google without the application's involvement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .console import Console
from .provider.authorization import AuthorizationCode
from .provider.errors import FakeGoogleError
from .provider.grants import FakeGrantTokens
from .provider.id_tokens import ALGORITHMS, IDTokenTampering
from .provider.identities import FakeClient, FakeUser
from .provider.scopes import normalize_scopes


class TokenControls(Console):
    """The part of ``FakeGoogle`` that issues and revokes tokens, and tampers with them."""

    def grant(
        self, user: FakeUser, scopes: Iterable[str], *, client: FakeClient | None = None
    ) -> FakeGrantTokens:
        """Grant scopes on behalf of a user, without a flow, and return the tokens."""
        client, scopes = client or self.client, normalize_scopes(scopes)
        with self._provider.lock:
            grants = self._provider.grants
            grants.add(user, client, scopes)
            refresh_token = grants.add_refresh_token(user, client, scopes)
            access_token = grants.add_access_token(
                user, client, scopes, family=refresh_token.family
            )
        return FakeGrantTokens(
            refresh_token=refresh_token.value,
            access_token=access_token.value,
            expires_in=self.access_token_lifetime,
        )

    def server_auth_code(
        self,
        user: FakeUser,
        scopes: Iterable[str],
        *,
        client: FakeClient | None = None,
        force_refresh_token: bool = False,
    ) -> str:
        """Return the code that Google's SDK on a phone passes to an app for its server.

        It is exchanged with an empty redirect URI, without PKCE and nonce. Only the first one
        results in a refresh token.

        Args:
            user: the user who has granted the scopes.
            scopes: the granted scopes, including identity scopes.
            client: the *web* client whose id the app uses; by default the first one.
            force_refresh_token: the effect of Android's ``forceCodeForRefreshToken``.
        """
        client, scopes = client or self.client, normalize_scopes(scopes)
        with self._provider.lock:
            is_first = self._provider.grants.scopes(user, client) is None
            self._provider.grants.add(user, client, scopes)
            code = AuthorizationCode(
                user=user,
                client=client,
                redirect_uri="",
                scopes=scopes,
                nonce=None,
                code_challenge=None,
                with_refresh_token=is_first or force_refresh_token,
            )
            return self._provider.codes.put(code, self._provider.now())

    def granted_scopes(
        self, user: FakeUser, client: FakeClient | None = None
    ) -> frozenset[str] | None:
        """Return the scopes granted to the client's project, or ``None`` without a grant."""
        with self._provider.lock:
            scopes = self._provider.grants.scopes(user, client or self.client)
        return None if scopes is None else frozenset(scopes)

    def revoke(self, user: FakeUser, client: FakeClient | None = None) -> None:
        """Revoke a grant as the user can at https://myaccount.google.com/connections.

        It ends for every client of the project.
        """
        with self._provider.lock:
            self._provider.end_grant(user, client or self.client)

    def set_scopes(
        self, user: FakeUser, scopes: Iterable[str], client: FakeClient | None = None
    ) -> None:
        """Change the scopes of a grant and its tokens, as an administrator can.

        Tokens of the project's other clients keep those of their scopes that remain.

        Raises:
            FakeGoogleError: if the user has no grant for this client.
        """
        client, scopes = client or self.client, normalize_scopes(scopes)
        with self._provider.lock:
            if self._provider.grants.scopes(user, client) is None:
                raise FakeGoogleError(f"{user.email} has no grant for this client.")
            self._provider.grants.replace(user, client, scopes)

    def expire_access_tokens(self, user: FakeUser | None = None) -> None:
        """Invalidate all access tokens issued so far, of this user or of all users."""
        with self._provider.lock:
            self._provider.grants.drop_access_tokens(lambda token: user in (None, token.user))

    def tamper_next_id_token(
        self,
        *,
        claims: Mapping[str, Any] | None = None,
        remove: Iterable[str] = (),
        header: Mapping[str, Any] | None = None,
        remove_header: Iterable[str] = (),
        payload: Any = ...,
        foreign_key: bool = False,
        alg: str | None = None,
        raw: str | None = None,
    ) -> None:
        """Tamper with the next ID token, which is signed nevertheless.

        Several calls are queued, one for each token.

        Args:
            claims: claims to set, to any JSON value.
            remove: claims to leave out.
            header: header parameters to set, to any JSON value.
            remove_header: header parameters to leave out.
            payload: signed instead of the claims, if given: bytes unchanged, any other value,
                including ``None``, as JSON.
            foreign_key: sign with a key that is not published, using the id of one that is.
            alg: another algorithm: ``"none"`` omits the signature; ``"HS256"`` uses the published
                key as a shared secret (RFC 8725 section 2.1); or one for RSA keys.
            raw: sent instead of a token.

        Raises:
            ValueError: for an algorithm that the fake does not support.
        """
        if alg is not None and alg not in ALGORITHMS:
            raise ValueError(f"Unknown algorithm {alg!r}: use one of {sorted(ALGORITHMS)}.")
        tampering = IDTokenTampering(
            claims=dict(claims or {}),
            remove=tuple(remove),
            header=dict(header or {}),
            remove_header=tuple(remove_header),
            payload=payload,
            foreign_key=foreign_key,
            alg=alg or "RS256",
            raw=raw,
        )
        with self._provider.lock:
            self._provider.id_token_tamperings.append(tampering)

    def rotate_signing_key(self, *, drop_old: bool = False) -> None:
        """Sign ID tokens with a new key from now on.

        Args:
            drop_old: whether to stop publishing the previous keys.
        """
        with self._provider.lock:
            self._provider.keys.rotate(drop_old=drop_old)

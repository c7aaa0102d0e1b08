"""Service accounts: the JWT bearer grant (RFC 7523), and the IAM Credentials API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Request, Response

from .endpoints import PATHS
from .errors import OAuthError
from .identities import FakeClient, FakeUser
from .keys import rsa_key
from .resources import Endpoint, protected
from .responses import json_response
from .scopes import normalize_scopes

if TYPE_CHECKING:
    from .provider import Provider

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_GOOGLES_TOKEN_ENDPOINT = "https://oauth2.googleapis.com/token"
_IAM_SCOPES = (
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/iam",
)
_LIFETIME = 3600  # seconds: the maximum for an assertion, and that of an access token
_SKEW = 300


@dataclass(eq=False, kw_only=True)
class FakeServiceAccount(FakeUser):
    """A service account with one key. Its lists may be changed at any time.

    Attributes:
        delegated_scopes: the scopes with which it may impersonate users of Google Workspace;
            ``"*"`` allows any.
        impersonators: the service accounts that may request tokens for this one.
    """

    number: int
    delegated_scopes: list[str] = field(default_factory=list)
    impersonators: list[FakeServiceAccount] = field(default_factory=list)

    @property
    def key(self) -> RSAKey:
        """The key that signs its assertions."""
        return rsa_key(f"service account {self.number}")

    @property
    def client(self) -> FakeClient:
        """The client to which its tokens are issued."""
        return FakeClient(client_id=self.sub, client_secret="")

    def info(self, token_uri: str) -> dict[str, Any]:
        """Return the content of the key file that Google's console offers for download."""
        return {
            "type": "service_account",
            "project_id": "fake-google",
            "private_key_id": self.key.kid,
            "private_key": self.key.as_pem(private=True).decode(),
            "client_email": self.email,
            "client_id": self.sub,
            "token_uri": token_uri,
            "universe_domain": "googleapis.com",
        }


def exchange_assertion(provider: Provider, form: MultiDict[str, str]) -> dict[str, Any]:
    """Issue an access token for an assertion that a service account has signed.

    See https://developers.google.com/identity/protocols/oauth2/service-account#httprest.

    Raises:
        OAuthError: with Google's error codes and descriptions.
    """
    account, claims = _verify_assertion(provider, form.get("assertion", ""))
    scopes = normalize_scopes(str(claims.get("scope", "")).split())
    if not scopes:
        raise OAuthError("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
    user = _find_subject(provider, account, claims.get("sub"), scopes)
    return {
        "access_token": _mint_access_token(provider, account, user, scopes),
        "expires_in": _LIFETIME - 1,
        "token_type": "Bearer",
    }


def _verify_assertion(
    provider: Provider, assertion: str
) -> tuple[FakeServiceAccount, Mapping[str, Any]]:
    claims = _read_claims(assertion)
    account = provider.directory.service_accounts.get(str(claims.get("iss")))
    if account is None:
        raise OAuthError("invalid_grant", "Invalid grant: account not found")
    try:
        jws.deserialize_compact(assertion, account.key, algorithms=["RS256"])
    except (JoseError, ValueError):
        raise OAuthError("invalid_grant", "Invalid JWT Signature.") from None
    if claims.get("aud") not in {provider.issuer + PATHS["token"], _GOOGLES_TOKEN_ENDPOINT}:
        raise OAuthError("invalid_grant", "Invalid JWT: Failed audience check.")
    _check_times(claims, provider.library_now())
    return account, claims


def _read_claims(assertion: str) -> Mapping[str, Any]:
    """Return the claims of an assertion, without verifying it."""
    try:
        claims = json.loads(jws.extract_compact(assertion.encode()).payload)
    except (JoseError, ValueError):
        raise OAuthError("invalid_grant", "Bad Request") from None
    return claims if isinstance(claims, dict) else {}


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    issued_at, expires_at = claims.get("iat"), claims.get("exp")
    reasonable = (
        isinstance(issued_at, int)
        and isinstance(expires_at, int)
        and issued_at <= now + _SKEW
        and expires_at >= now - _SKEW
        and expires_at - issued_at <= _LIFETIME
    )
    if not reasonable:
        raise OAuthError(
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable "
            "timeframe. Check your iat and exp values in the JWT claim.",
        )


def _find_subject(
    provider: Provider, account: FakeServiceAccount, subject: Any, scopes: tuple[str, ...]
) -> FakeUser:
    """Return the subject of the token: the account itself, or a user of Google Workspace."""
    if not subject or subject == account.email:
        return account
    delegated = set(normalize_scopes(account.delegated_scopes))
    if not ("*" in delegated or set(scopes) <= delegated):
        raise OAuthError(
            "unauthorized_client",
            "Client is unauthorized to retrieve access tokens using this method, or client not "
            "authorized for any of the scopes requested.",
            401,
        )
    user = provider.directory.find_user(str(subject))
    if user is None or not user.hosted_domain:
        raise OAuthError("invalid_grant", "Invalid email or User ID")
    return user


def _mint_access_token(
    provider: Provider, account: FakeServiceAccount, user: FakeUser, scopes: tuple[str, ...]
) -> str:
    expires_at = provider.now() + _LIFETIME
    return provider.grants.add_access_token(
        user, account.client, scopes, expires_at=expires_at
    ).value


def generate_access_token(provider: Provider) -> Endpoint:
    """Return the IAM method that issues a token of one service account to another.

    See https://cloud.google.com/iam/docs/reference/credentials/rest.
    """

    def handler(request: Request, caller: FakeUser, email: str) -> Response:
        with provider.lock:
            account = _find_impersonated(provider, caller, email)
            if account is None:
                return _refuse_permission("iam.serviceAccounts.getAccessToken")
            scopes = normalize_scopes(request.get_json()["scope"])
            token = _mint_access_token(provider, account, account, scopes)
            expires_at = datetime.fromtimestamp(provider.library_now() + _LIFETIME, UTC)
        return json_response(
            {"accessToken": token, "expireTime": expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")}
        )

    return protected(handler, _IAM_SCOPES)


def sign_jwt(provider: Provider) -> Endpoint:
    """Return the IAM method that signs an assertion with another service account's key."""

    def handler(request: Request, caller: FakeUser, email: str) -> Response:
        with provider.lock:
            account = _find_impersonated(provider, caller, email)
        if account is None:
            return _refuse_permission("iam.serviceAccounts.signJwt")
        payload = request.get_json()["payload"]
        header = {"alg": "RS256", "typ": "JWT", "kid": account.key.kid}
        return json_response(
            {
                "keyId": account.key.kid,
                "signedJwt": jws.serialize_compact(header, payload, account.key),
            }
        )

    return protected(handler, _IAM_SCOPES)


def _find_impersonated(
    provider: Provider, caller: FakeUser, email: str
) -> FakeServiceAccount | None:
    account = provider.directory.service_accounts.get(email)
    return account if account and caller in account.impersonators else None


def _refuse_permission(permission: str) -> Response:
    message = f"Permission '{permission}' denied on resource (or it may not exist)."
    return json_response(
        {"error": {"code": 403, "message": message, "status": "PERMISSION_DENIED"}}, 403
    )

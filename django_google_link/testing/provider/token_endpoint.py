"""The token endpoint (RFC 6749 sections 4.1.3 and 6, RFC 7523, RFC 7636 section 4.6)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Any

from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Request, Response

from .client_authentication import authenticate_client
from .errors import OAuthError
from .id_tokens import Tampering, id_token_claims, sign_id_token
from .responses import json_response, oauth_error_response
from .scopes import OPENID, normalize_scopes
from .service_accounts import JWT_BEARER, exchange_assertion

if TYPE_CHECKING:
    from .authorization import AuthorizationCode
    from .grants import Token
    from .identities import FakeClient
    from .provider import Provider


def token(provider: Provider, request: Request) -> Response:
    """Answer a token request with tokens, or with an error in Google's words."""
    with provider.lock:
        try:
            if request.form.get("grant_type") == JWT_BEARER:
                return json_response(exchange_assertion(provider, request.form))
            client = authenticate_client(request, provider.directory)
            return json_response(_grant(provider, client, request.form))
        except OAuthError as error:
            return oauth_error_response(error)


def _grant(provider: Provider, client: FakeClient, form: MultiDict[str, str]) -> dict[str, Any]:
    grant_type = _required(form, "grant_type")
    if grant_type == "authorization_code":
        return _exchange_code(provider, client, form)
    if grant_type == "refresh_token":
        return _refresh(provider, client, form)
    raise OAuthError("unsupported_grant_type", f"Invalid grant_type: {grant_type}")


def _exchange_code(
    provider: Provider, client: FakeClient, form: MultiDict[str, str]
) -> dict[str, Any]:
    value = _required(form, "code")
    code = provider.codes.get(value, provider.now())
    if code is None or code.client is not client:
        raise OAuthError("invalid_grant", "Malformed auth code.")
    provider.codes.pop(value, provider.now())
    if form.get("redirect_uri") != code.redirect_uri:
        raise OAuthError("redirect_uri_mismatch", "Bad Request")
    _check_verifier(code, form.get("code_verifier"))
    refresh_token = None
    if code.with_refresh_token:
        refresh_token = provider.grants.add_refresh_token(
            code.user, client, code.scopes, _refresh_token_expiry(provider)
        )
    access_token = provider.grants.add_access_token(
        code.user, client, code.scopes, _access_token_expiry(provider)
    )
    answer = _token_response(provider, access_token, refresh_token, code.nonce)
    if refresh_token:
        answer["refresh_token"] = refresh_token.value
    return answer


def _refresh(provider: Provider, client: FakeClient, form: MultiDict[str, str]) -> dict[str, Any]:
    held = provider.grants.refresh_token(_required(form, "refresh_token"), provider.now())
    if held is None:
        raise OAuthError("invalid_grant", "Token has been expired or revoked.")
    if held.client is not client:
        raise OAuthError("unauthorized_client", "Unauthorized")
    scopes = normalize_scopes(form.get("scope", "").split()) or held.scopes
    if not set(scopes) <= set(held.scopes):
        raise OAuthError("invalid_scope", "Some requested scopes were not granted.")
    access_token = provider.grants.add_access_token(
        held.user, client, scopes, _access_token_expiry(provider)
    )
    return _token_response(provider, access_token, held, nonce=None)


def _token_response(
    provider: Provider, access_token: Token, refresh_token: Token | None, nonce: str | None
) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "access_token": access_token.value,
        "expires_in": provider.behaviour.access_token_lifetime,
        "scope": " ".join(access_token.scopes),
        "token_type": "Bearer",
    }
    if OPENID in access_token.scopes:
        answer["id_token"] = _id_token(provider, access_token, nonce)
    if refresh_token and refresh_token.expires_at is not None:
        answer["refresh_token_expires_in"] = int(refresh_token.expires_at - provider.now())
    return answer


def _id_token(provider: Provider, access_token: Token, nonce: str | None) -> str:
    tampering = provider.tamperings.popleft() if provider.tamperings else Tampering()
    claims = id_token_claims(access_token, issuer=provider.issuer, now=provider.now(), nonce=nonce)
    return sign_id_token(claims, provider.keys.current, tampering)


def _access_token_expiry(provider: Provider) -> float:
    return provider.now() + provider.behaviour.access_token_lifetime


def _refresh_token_expiry(provider: Provider) -> float | None:
    lifetime = provider.behaviour.refresh_token_lifetime
    return None if lifetime is None else provider.now() + lifetime


def _check_verifier(code: AuthorizationCode, verifier: str | None) -> None:
    if code.code_challenge is None:
        if verifier:
            raise OAuthError("invalid_grant", "code_verifier or verifier is not needed.")
        return
    if not verifier:
        raise OAuthError("invalid_grant", "Missing code verifier.")
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    if not hmac.compare_digest(challenge, code.code_challenge):
        raise OAuthError("invalid_grant", "Invalid code verifier.")


def _required(form: MultiDict[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise OAuthError("invalid_request", f"Missing required parameter: {name}")
    return value

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
from .id_tokens import IDTokenTampering, id_token_claims, sign_id_token
from .responses import json_response, oauth_error_response
from .scopes import OPENID, normalize_scopes
from .service_accounts import JWT_BEARER, exchange_assertion

if TYPE_CHECKING:
    from .authorization import AuthorizationCode
    from .grants import Token
    from .identities import FakeClient
    from .provider import Provider


def token(provider: Provider, request: Request) -> Response:
    """Respond to a token request with tokens, or with an error in Google's words."""
    with provider.lock:
        try:
            if request.form.get("grant_type") == JWT_BEARER:
                return json_response(exchange_assertion(provider, request.form))
            client = authenticate_client(request, provider.directory)
            return json_response(_give_tokens(provider, client, request.form))
        except OAuthError as error:
            return oauth_error_response(error)


def _give_tokens(
    provider: Provider, client: FakeClient, form: MultiDict[str, str]
) -> dict[str, Any]:
    grant_type = _require(form, "grant_type")
    if grant_type == "authorization_code":
        return _exchange_code(provider, client, form)
    if grant_type == "refresh_token":
        return _refresh_token(provider, client, form)
    raise OAuthError("unsupported_grant_type", f"Invalid grant_type: {grant_type}")


def _exchange_code(
    provider: Provider, client: FakeClient, form: MultiDict[str, str]
) -> dict[str, Any]:
    value = _require(form, "code")
    code = provider.codes.get(value, provider.now())
    if code is None or code.client is not client:
        raise OAuthError("invalid_grant", "Malformed auth code.")
    provider.codes.pop(value, provider.now())
    if not code.is_exchanged_with(form.get("redirect_uri")):
        raise OAuthError("redirect_uri_mismatch", "Bad Request")
    _check_verifier(code, form.get("code_verifier"))
    refresh_token = None
    if code.with_refresh_token:
        refresh_token = provider.grants.add_refresh_token(code.user, client, code.scopes)
    access_token = provider.grants.add_access_token(
        code.user, client, code.scopes, family=refresh_token.family if refresh_token else ""
    )
    return {
        **_describe_access_token(provider, access_token),
        "scope": client.scope_separator.join(access_token.scopes),
        **_give_id_token(provider, access_token, code.nonce),
        **_give_refresh_token(refresh_token),
        **_say_when_it_ends(provider, refresh_token),
    }


def _refresh_token(
    provider: Provider, client: FakeClient, form: MultiDict[str, str]
) -> dict[str, Any]:
    behaviour, grants = provider.behaviour, provider.grants
    value = _require(form, "refresh_token")
    held = grants.refresh_token(value)
    if held is None:
        _note_reuse(provider, client, value)
        raise OAuthError("invalid_grant", "Token has been expired or revoked.")
    if held.client is not client:
        raise OAuthError("unauthorized_client", "Unauthorized")
    scopes = normalize_scopes(form.get("scope", "").split()) or held.scopes
    if not set(scopes) <= set(held.scopes):
        raise OAuthError("invalid_scope", "Some requested scopes were not granted.")
    held.used_at = provider.now()
    renewed = grants.replace_refresh_token(held) if behaviour.rotates_refresh_tokens else None
    access_token = grants.add_access_token(held.user, client, scopes, family=held.family)
    answer = _describe_access_token(provider, access_token)
    if behaviour.refresh_sends_scope:
        answer["scope"] = client.scope_separator.join(scopes)
    if behaviour.refresh_sends_id_token:
        answer |= _give_id_token(provider, access_token, nonce=None)
    return {**answer, **_give_refresh_token(renewed), **_say_when_it_ends(provider, held)}


def _note_reuse(provider: Provider, client: FakeClient, value: str) -> None:
    """Treat the reuse of a replaced refresh token as theft, if the behaviour says so."""
    replaced = provider.grants.replaced_token(value)
    if replaced and replaced.client is client and provider.behaviour.reuse_ends_family:
        provider.grants.remove_family(replaced.family)


def _describe_access_token(provider: Provider, access_token: Token) -> dict[str, Any]:
    return {
        "access_token": access_token.value,
        "expires_in": provider.behaviour.access_token_lifetime,
        "token_type": "Bearer",
    }


def _give_id_token(provider: Provider, access_token: Token, nonce: str | None) -> dict[str, Any]:
    if OPENID not in access_token.scopes or not access_token.client.speaks_openid:
        return {}
    tamperings = provider.id_token_tamperings
    tampering = tamperings.popleft() if tamperings else IDTokenTampering()
    claims = id_token_claims(access_token, issuer=provider.issuer, now=provider.now(), nonce=nonce)
    return {"id_token": sign_id_token(claims, provider.keys.current, tampering)}


def _give_refresh_token(refresh_token: Token | None) -> dict[str, Any]:
    return {"refresh_token": refresh_token.value} if refresh_token else {}


def _say_when_it_ends(provider: Provider, refresh_token: Token | None) -> dict[str, Any]:
    if refresh_token is None or refresh_token.expires_at is None:
        return {}
    return {"refresh_token_expires_in": int(refresh_token.expires_at - provider.now())}


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


def _require(form: MultiDict[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise OAuthError("invalid_request", f"Missing required parameter: {name}")
    return value

"""Requests to the token endpoint (RFC 6749) and to the revocation endpoint (RFC 7009)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from django.views.decorators.debug import sensitive_variables

from ..conf import clock
from ..conf.clients import OAuthClient
from ..exceptions import (
    ClientMisconfiguredError,
    GrantLostError,
    RefreshUnavailableError,
    TokenEndpointError,
)
from ..scopes import parse_scopes
from ..secret import Secret
from .client_authentication import Form, authenticate
from .id_token import read_unverified_identity
from .measurements import INVALID_TOKEN, judge_error, measured
from .metadata import with_endpoints
from .transport import Answer, fetch

#: Errors that concern the client's registration, never the user's grant.
CLIENT_ERRORS = frozenset(
    {
        "admin_policy_enforced",
        "deleted_client",
        "disabled_client",
        "invalid_client",
        "invalid_scope",
        "org_internal",
        "redirect_uri_mismatch",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)

SESSION_POLICY_SUBTYPES = frozenset({"invalid_rapt", "rapt_required"})

#: Errors that ask for fewer requests; the first is from RFC 8628 section 3.5.
THROTTLING_ERRORS = frozenset(
    {
        "slow_down",
        "too_many_requests",
        "rate_limit_exceeded",
        "quotaExceeded",
        "rateLimitExceeded",
        "userRateLimitExceeded",
        "RESOURCE_EXHAUSTED",
    }
)

#: Errors that are temporary, whatever the HTTP status.
_TRANSIENT_ERRORS = THROTTLING_ERRORS | {
    "backendError",
    "internal_failure",
    "server_error",
    "temporarily_unavailable",
}

#: Errors of a revocation endpoint that requires client authentication.
_UNAUTHENTICATED = frozenset({"invalid_client", "invalid_request"})

#: HTTP statuses that are temporary.
_TRANSIENT_STATUSES = frozenset({408, 425, 429})
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
# VSCHAR of RFC 6749 appendix A, which can be sent in a header and stored.
_TOKEN = re.compile(r"[\x20-\x7e]+")
_MAX_LIFETIME = 10 * 365 * 24 * 3600
#: Stands for a ``scope`` that is neither a string nor a list.
_MALFORMED: tuple[str, ...] = ("malformed scope",)


@dataclass(frozen=True, kw_only=True)
class TokenResponse:
    """A successful response of the token endpoint (RFC 6749 section 5.1).

    ``scopes`` is ``None`` if the response has no ``scope``: the granted scopes are the requested
    ones. ``problem`` says why the response cannot be used. Its tokens may be valid all the same:
    the caller has to store the refresh token or to revoke the grant.
    """

    access_token: Secret
    access_token_expires_at: datetime | None
    refresh_token: Secret | None
    refresh_token_expires_at: datetime | None
    scopes: tuple[str, ...] | None
    id_token: Secret | None
    problem: TokenEndpointError | None = None

    @property
    def unverified_sub(self) -> str:
        """The ``sub`` claim of the ID token, unverified; empty without one.

        It may be forged: use it to decide that a grant is not revoked, and for nothing else.
        """
        claimed = read_unverified_identity(self.id_token) if self.id_token else None
        return claimed.sub if claimed else ""


@sensitive_variables()
def exchange_code(
    client: OAuthClient, *, code: Secret, redirect_uri: str, code_verifier: str
) -> TokenResponse:
    """Exchange an authorization code for tokens (RFC 6749 section 4.1.3).

    For a successful response that cannot be used, ``problem`` is set instead of raised.

    Args:
        code: the code as received.
        redirect_uri: the redirect URI as sent; empty for a code from a mobile app.
        code_verifier: the verifier whose challenge was sent; empty if none was.

    Raises:
        ClientMisconfiguredError: if Google rejects the client.
        RefreshUnavailableError: if Google cannot be reached, or its response is unusable.
        TokenEndpointError: for any other error, such as a code that was used before.
    """
    # Google rejects a verifier without a challenge.
    verifier = {"code_verifier": code_verifier} if code_verifier else {}
    return _request_token(
        client,
        "exchange",
        grant_type="authorization_code",
        code=code,
        redirect_uri=redirect_uri,
        **verifier,
    )


@sensitive_variables()
def refresh(client: OAuthClient, *, refresh_token: Secret, kind: str = "refresh") -> TokenResponse:
    """Fetch a fresh access token (RFC 6749 section 6) for all granted scopes: no scope is sent.

    For a successful response that cannot be used, ``problem`` is set instead of raised: its refresh
    token may have replaced the one that was sent.

    Args:
        kind: the kind of refresh, for monitoring.

    Raises:
        GrantLostError: if Google no longer honours the refresh token.
        ClientMisconfiguredError: if Google rejects the client.
        RefreshUnavailableError: if Google cannot be reached, or its response is unusable.
        TokenEndpointError: for any other error, which says nothing about the grant.
    """
    try:
        return _request_token(client, kind, grant_type="refresh_token", refresh_token=refresh_token)
    except _InvalidGrantError as error:
        if error.subtype in SESSION_POLICY_SUBTYPES:
            raise GrantLostError(
                "The organization of this account uses Google Cloud session control, which limits "
                "how long apps with Google Cloud scopes have access. The user has to link the "
                "account again.",
                reason="session_policy",
            ) from None
        raise GrantLostError(reason="revoked") from None


@sensitive_variables()
def revoke(client: OAuthClient, *, token: Secret) -> bool:
    """Revoke a grant (RFC 7009 section 2.1). An invalid token counts as revoked.

    Google does not require client authentication; if it asks for it, the request is repeated with
    it. It is always sent to other providers, which may otherwise treat the token as unknown
    (section 2.2).

    Args:
        client: the client to which the token was issued.
        token: the refresh token or the access token.

    Returns:
        Whether the token was valid until now, as far as the provider says.

    Raises:
        RefreshUnavailableError: if Google cannot be reached, or its response is unusable.
        TokenEndpointError: for any other error.
    """
    client = with_endpoints(client)
    url = client.revocation_endpoint
    if url is None:
        raise TokenEndpointError("no_revocation_endpoint")
    plain: Form = {"token": token}
    form, headers = (plain, {}) if client.is_google else authenticate(client, plain)
    with measured("revoke", client.name) as measurement:
        answer = fetch(url, form=form, headers=headers)
        if client.is_google and answer.document.get("error") in _UNAUTHENTICATED:
            form, headers = authenticate(client, plain)
            answer = fetch(url, form=form, headers=headers)
        if answer.status == 200:
            return True
        if answer.document.get("error") == INVALID_TOKEN:
            measurement.outcome = INVALID_TOKEN
            return False
        raise endpoint_error(answer, sent=[client.client_secret, token])


class _InvalidGrantError(TokenEndpointError):
    """``invalid_grant``: an invalid refresh token, or a code that was used, expired or not ours."""

    subtype = ""


@sensitive_variables()
def _request_token(client: OAuthClient, kind: str, **params: str | Secret) -> TokenResponse:
    client = with_endpoints(client)
    form, headers = authenticate(client, params)
    with measured(kind, client.name) as measurement:
        answer = fetch(client.token_endpoint, form=form, headers=headers)
        # RFC 6749 requires another status for errors, but some providers respond with 200.
        is_error = _read_text(answer.document, "error") and not _read_token(answer, "access_token")
        if answer.status != 200 or is_error:
            raise endpoint_error(answer, sent=[client.client_secret, *params.values()])
        response = _read_token_response(client, answer)
        if response.problem:
            measurement.outcome = judge_error(response.problem)
        return response


@sensitive_variables()
def endpoint_error(answer: Answer, *, sent: Iterable[str | Secret] = ()) -> TokenEndpointError:
    """Return the exception for an unsuccessful response (RFC 6749 section 5.2).

    Args:
        answer: the response of an OAuth endpoint or a Google API.
        sent: the parameters of the request; any secrets among them are redacted from the text.
    """
    secrets = [value for value in sent if isinstance(value, Secret)]
    error, description, subtype = (
        _redact_secrets(_read_text(answer.document, key), secrets)
        for key in ("error", "error_description", "error_subtype")
    )
    if is_transient(answer) or not error:
        return RefreshUnavailableError(error or "no_answer", description, answer.status)
    if error in CLIENT_ERRORS:
        return ClientMisconfiguredError(error, description, answer.status)
    if error == "invalid_grant":
        invalid_grant = _InvalidGrantError(error, description, answer.status)
        invalid_grant.subtype = subtype
        return invalid_grant
    if error in _TRANSIENT_ERRORS:
        return RefreshUnavailableError(error, description, answer.status)
    return TokenEndpointError(error, description, answer.status)


def is_transient(answer: Answer) -> bool:
    """Return whether a response indicates a temporary problem."""
    return answer.status >= 500 or answer.status in _TRANSIENT_STATUSES


@sensitive_variables()
def _redact_secrets(text: str, secrets: Iterable[Secret]) -> str:
    """Redact what was sent: a provider may repeat it in its text, which is logged and stored."""
    for secret in secrets:
        for spelling in (secret.reveal(), quote(secret.reveal(), safe="")):
            text = text.replace(spelling, "***")
    return text


@sensitive_variables()
def _read_token_response(client: OAuthClient, answer: Answer) -> TokenResponse:
    access_token = _read_token(answer, "access_token")
    scopes = _read_scopes(client, answer)
    return TokenResponse(
        access_token=access_token or Secret(""),
        access_token_expires_at=_read_expiry(answer.document.get("expires_in")),
        refresh_token=_read_token(answer, "refresh_token"),
        refresh_token_expires_at=_read_expiry(answer.document.get("refresh_token_expires_in")),
        scopes=None if scopes is _MALFORMED else scopes,
        id_token=_read_token(answer, "id_token"),
        problem=_find_problem(answer, has_token=bool(access_token), scopes=scopes),
    )


@sensitive_variables()
def _find_problem(
    answer: Answer, *, has_token: bool, scopes: tuple[str, ...] | None
) -> TokenEndpointError | None:
    """Return why a response with status 200 cannot be used, or ``None``."""
    problem = ""
    if not has_token:
        problem = "no_access_token"
    elif not _is_bearer(answer.document.get("token_type")):
        problem = "unsupported_token_type"
    elif scopes is _MALFORMED:
        problem = "malformed_scope"
    return RefreshUnavailableError(problem, status=200) if problem else None


def _is_bearer(token_type: Any) -> bool:
    """Return whether a token is a bearer token (RFC 6750), which some providers do not state."""
    if token_type is None:
        return True
    return isinstance(token_type, str) and token_type.strip().lower() in {"", "bearer"}


def _read_scopes(client: OAuthClient, answer: Answer) -> tuple[str, ...] | None:
    """Return the scopes of a response, or ``None`` if it has no ``scope``.

    Invalid scopes (RFC 6749 appendix A.4) are dropped. Other providers also separate scopes by
    commas, whatever separator they require in requests, or send a list.
    """
    scope = answer.document.get("scope")
    if scope is None:
        return None
    if isinstance(scope, list) and not client.is_google:
        scope = " ".join(item for item in scope if isinstance(item, str))
    if not isinstance(scope, str):
        return _MALFORMED
    if not client.is_google:
        scope = scope.replace(",", " ")
    return tuple(filter(_SCOPE.fullmatch, parse_scopes(scope)))


def _read_token(answer: Answer, key: str) -> Secret | None:
    """Return a token, or ``None`` for an invalid one (RFC 6749 appendix A)."""
    text = _read_text(answer.document, key)
    return Secret(text) if _TOKEN.fullmatch(text) else None


def _read_text(document: Mapping[str, Any], key: str) -> str:
    """Return a string member, or an empty string. Google APIs nest their error in an object.

    See https://cloud.google.com/apis/design/errors#http_mapping.
    """
    value, error = document.get(key), document.get("error")
    if key == "error" and isinstance(error, Mapping):
        value = error.get("status") or error.get("code")
    if key == "error_description" and isinstance(error, Mapping):
        value = error.get("message")
    return value if isinstance(value, str) else ""


def _read_expiry(seconds: Any) -> datetime | None:
    """Return when a token expires. Some providers send the number of seconds as a string."""
    if isinstance(seconds, bool):
        return None
    try:
        lifetime = int(seconds)
    except (TypeError, ValueError, OverflowError):
        return None
    return clock.now() + timedelta(seconds=min(max(lifetime, 0), _MAX_LIFETIME))

"""The resources that access tokens give access to: userinfo, and API methods of tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Request, Response

from .id_tokens import user_claims
from .responses import NO_STORE, json_response
from .scopes import EMAIL, OPENID, PROFILE, normalize_scopes

if TYPE_CHECKING:
    from .grants import Token
    from .provider import Provider

Endpoint = Callable[..., Response]
Handler = Callable[..., dict[str, Any] | list[Any] | Response]
_REALM = 'Bearer realm="https://accounts.google.com/"'


def protected(handler: Handler, scopes: Sequence[str]) -> Endpoint:
    """Return an endpoint that calls the handler for requests with a valid, sufficient token.

    The token is in the Authorization header (RFC 6750 section 2.1), and has any of the scopes.
    Other requests get an error as in https://cloud.google.com/apis/design/errors.
    """
    sufficient = frozenset(normalize_scopes(scopes))

    def endpoint(provider: Provider, request: Request, /, **path_args: Any) -> Response:
        token = _find_presented_token(provider, request)
        if token is None:
            return _refuse_unauthenticated(request)
        if sufficient and sufficient.isdisjoint(token.scopes):
            return _refuse_insufficient(sufficient)
        answer = handler(request, token.user, **path_args)
        return answer if isinstance(answer, Response) else json_response(answer)

    return endpoint


def userinfo(provider: Provider, request: Request) -> Response:
    """Return the claims about the token's user (OpenID Connect Core section 5.3)."""
    token = _find_presented_token(provider, request)
    if token is None:
        return _refuse_unauthenticated(request)
    if not token.client.speaks_openid:
        return json_response(_describe_user(token))
    if not {OPENID, EMAIL, PROFILE}.intersection(token.scopes):
        return _refuse_insufficient(frozenset({OPENID, EMAIL, PROFILE}))
    return json_response(user_claims(token))


def _describe_user(token: Token) -> dict[str, Any]:
    """Return the data about a user in the format of a provider without OpenID Connect."""
    user = token.user
    described: dict[str, Any] = {"email": user.email, "name": user.name, "picture": user.picture}
    *parents, last = token.client.subject_member.split(".")
    place = described
    for name in parents:
        place = place.setdefault(name, {})
    place[last] = user.sub
    return described


def read_bearer_token(request: Request) -> str:
    """Return the access token in a request, or an empty string."""
    authorization = request.authorization
    if authorization is None or authorization.type != "bearer":
        return ""
    return authorization.token or ""


def unknown_method(request: Request) -> Response:
    """Return the response to a call of an API method that is not registered."""
    message = f"{request.path} is not registered at this fake: use answer() or route()."
    return json_response({"error": {"code": 404, "message": message, "status": "NOT_FOUND"}}, 404)


def _find_presented_token(provider: Provider, request: Request) -> Token | None:
    value = read_bearer_token(request)
    if not value:
        return None
    with provider.lock:
        return provider.grants.access_token(value)


def _refuse_unauthenticated(request: Request) -> Response:
    presented = "Authorization" in request.headers
    return _make_api_error(
        401,
        status="UNAUTHENTICATED",
        reason="ACCESS_TOKEN_EXPIRED" if presented else "CREDENTIALS_MISSING",
        old_reason="authError" if presented else "required",
        message="Request had invalid authentication credentials.",
        challenge=f'{_REALM}, error="invalid_token"' if presented else _REALM,
    )


def _refuse_insufficient(scopes: frozenset[str]) -> Response:
    return _make_api_error(
        403,
        status="PERMISSION_DENIED",
        reason="ACCESS_TOKEN_SCOPE_INSUFFICIENT",
        old_reason="insufficientPermissions",
        message="Request had insufficient authentication scopes.",
        challenge=f'{_REALM}, error="insufficient_scope", scope="{" ".join(sorted(scopes))}"',
    )


def _make_api_error(
    code: int, *, status: str, reason: str, old_reason: str, message: str, challenge: str
) -> Response:
    details = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
    }
    error = {
        "code": code,
        "message": message,
        "errors": [{"message": message, "domain": "global", "reason": old_reason}],
        "status": status,
        "details": [details],
    }
    return json_response({"error": error}, code, {**NO_STORE, "WWW-Authenticate": challenge})

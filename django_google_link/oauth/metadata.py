"""What an issuer publishes of itself: OpenID Connect Discovery section 4, RFC 8414 section 3."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import urlsplit

from django.views.decorators.debug import sensitive_variables

from ..conf import clock
from ..conf.clients import OAuthClient
from ..conf.provider_values import AuthMethod
from ..conf.providers import is_at_google
from ..conf.settings import conf
from ..conf.validators import is_endpoint, is_loopback
from ..exceptions import ClientMisconfiguredError, RefreshUnavailableError, TokenEndpointError
from .caching import read_max_age
from .measurements import measured
from .transport import Answer, fetch, limited

logger = logging.getLogger("django_google_link")

#: Seconds.
_DEFAULT_AGE = 3600
#: For so long what was known last serves after its time, while nothing newer can be had.
_LONGEST_STALE = 24 * 3600
#: So long after a failure nobody asks again.
_PAUSE = 10
#: So many issuers are remembered.
_MOST = 100


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """The part of an issuer's metadata that a client needs."""

    authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str | None
    jwks_uri: str | None
    userinfo_endpoint: str | None
    auth_method: AuthMethod
    signing_algorithms: tuple[str, ...] | None
    sends_issuer: bool


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What was published, or why that could not be read; and when to ask again.

    What was asked later than now was asked before the clock was put back.
    """

    metadata: Metadata | None
    problem: TokenEndpointError | None
    asked_at: float
    ask_at: float
    stale_at: float


_cache: dict[str, _Known] = {}
_cache_lock = threading.Lock()


def with_endpoints(client: OAuthClient) -> OAuthClient:
    """Return a client with the endpoints that its issuer publishes, where the settings name none.

    What the settings say goes before what is published.

    Raises:
        RefreshUnavailableError: when the issuer cannot be reached, or makes no sense.
        ClientMisconfiguredError: when it publishes nothing, or what must not be used.
    """
    if not client.discovers_endpoints:
        return client
    metadata = _get_metadata(client.issuer)
    return replace(
        client,
        discovers_endpoints=False,
        authorization_endpoint=metadata.authorization_endpoint,
        token_endpoint=metadata.token_endpoint,
        revocation_endpoint=client.revocation_endpoint or metadata.revocation_endpoint,
        jwks_uri=client.jwks_uri or metadata.jwks_uri,
        userinfo_endpoint=client.userinfo_endpoint or metadata.userinfo_endpoint,
        token_endpoint_auth_method=client.token_endpoint_auth_method or metadata.auth_method,
        signing_algorithms=metadata.signing_algorithms,
        sends_issuer=metadata.sends_issuer,
    )


def forget_metadata() -> None:
    """Forget what all issuers have published: in tests, the next has the address of the last."""
    _cache.clear()


def _get_metadata(issuer: str) -> Metadata:
    known, now = _cache.get(issuer), clock.timestamp()
    if known is None or not known.asked_at <= now < known.ask_at:
        known = _look_again(issuer, known, now)
        with _cache_lock:
            if len(_cache) >= _MOST:
                _cache.clear()
            _cache[issuer] = known
    if known.metadata is not None and now < known.stale_at:
        return known.metadata
    raise _copy_error(cast("TokenEndpointError", known.problem))


def _look_again(issuer: str, known: _Known | None, now: float) -> _Known:
    """Return what the issuer publishes now; while that cannot be read, what was known last."""
    try:
        # Whoever needs it asks the issuer for something else afterwards, and that takes its time.
        with limited(conf.http_timeout / 2):
            metadata, age = _fetch_metadata(issuer)
    except TokenEndpointError as problem:
        logger.warning("The metadata of %s cannot be used: %s", issuer, problem)
        return _Known(
            metadata=known.metadata if known else None,
            problem=problem,
            asked_at=now,
            ask_at=now + _PAUSE,
            stale_at=known.stale_at if known else now,
        )
    return _Known(
        metadata=metadata,
        problem=None,
        asked_at=now,
        ask_at=now + age,
        stale_at=now + age + _LONGEST_STALE,
    )


def _copy_error(problem: TokenEndpointError) -> TokenEndpointError:
    """Return the same error without the frames of the one who met it first."""
    return type(problem)(problem.error, problem.error_description, problem.status)


def _fetch_metadata(issuer: str) -> tuple[Metadata, int]:
    answer = None
    with measured("published", ""):
        for url in _list_addresses(issuer):
            answer = fetch(url)
            if answer.status == 200 and answer.document:
                metadata = _read_metadata(issuer, answer.document)
                return metadata, read_max_age(answer, default=_DEFAULT_AGE)
        raise _explain_absence(cast("Answer", answer))


@sensitive_variables()
def _explain_absence(answer: Answer) -> TokenEndpointError:
    if 400 <= answer.status < 500 and answer.status not in {408, 425, 429}:
        return ClientMisconfiguredError(
            "no_metadata", "give AUTHORIZATION_ENDPOINT and TOKEN_ENDPOINT", answer.status
        )
    return RefreshUnavailableError("metadata_unavailable", status=answer.status)


def _list_addresses(issuer: str) -> Iterator[str]:
    """Return where the metadata may be. RFC 8414 puts its part before the path of the issuer."""
    base = issuer.rstrip("/")
    yield f"{base}/.well-known/openid-configuration"
    parts = urlsplit(base)
    path = f"/.well-known/oauth-authorization-server{parts.path}"
    yield parts._replace(path=path).geturl()


def _read_metadata(issuer: str, document: Mapping[str, Any]) -> Metadata:
    named = document.get("issuer")
    if named != issuer:
        raise ClientMisconfiguredError(
            "metadata_of_another_issuer", f"it names {named!r}: write ISSUER exactly so, if it is"
        )
    endpoints = {
        key: _read_endpoint(issuer, document, key)
        for key in (
            "authorization_endpoint",
            "token_endpoint",
            "revocation_endpoint",
            "jwks_uri",
            "userinfo_endpoint",
        )
    }
    authorization_endpoint = endpoints["authorization_endpoint"]
    token_endpoint = endpoints["token_endpoint"]
    if not authorization_endpoint or not token_endpoint:
        raise ClientMisconfiguredError(
            "metadata_incomplete", "it names no authorization_endpoint, or no token_endpoint"
        )
    return Metadata(
        authorization_endpoint=authorization_endpoint,
        token_endpoint=token_endpoint,
        revocation_endpoint=endpoints["revocation_endpoint"],
        jwks_uri=endpoints["jwks_uri"],
        userinfo_endpoint=endpoints["userinfo_endpoint"],
        auth_method=_choose_auth_method(document),
        signing_algorithms=_read_texts(document, "id_token_signing_alg_values_supported"),
        sends_issuer=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _read_endpoint(issuer: str, document: Mapping[str, Any], key: str) -> str | None:
    """Return an endpoint to which tokens may be sent, if there is one.

    What a stranger publishes must not lead into this machine, nor to Google.
    """
    url = document.get(key)
    if url is None:
        return None
    is_usable = isinstance(url, str) and is_endpoint(url) and not is_at_google(url)
    if not is_usable or (is_loopback(url) and not is_loopback(issuer)):
        raise ClientMisconfiguredError("metadata_unusable", f"its {key} is {url!r}")
    return cast("str", url)


def _choose_auth_method(document: Mapping[str, Any]) -> AuthMethod:
    methods = _read_texts(document, "token_endpoint_auth_methods_supported") or ()
    if "client_secret_basic" in methods and "client_secret_post" not in methods:
        return "client_secret_basic"
    return "client_secret_post"


def _read_texts(document: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
    """Return a list of text; ``None`` for anything else."""
    values = document.get(key)
    if not isinstance(values, list):
        return None
    return tuple(value for value in values if isinstance(value, str))

"""Fetches an issuer's metadata (OpenID Connect Discovery section 4, RFC 8414 section 3)."""

from __future__ import annotations

import logging
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

#: Seconds for which metadata is cached, if the response does not say.
_DEFAULT_AGE = 3600
#: Seconds for which expired metadata is still used while newer metadata cannot be fetched.
_LONGEST_STALE = 24 * 3600
#: Seconds after a failure before the next attempt.
_PAUSE = 10
#: The number of issuers whose metadata is cached.
_MOST = 100


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """The members of an issuer's metadata that a client needs."""

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
    """Metadata, or why it could not be fetched; ``ask_at`` is the time of the next attempt.

    An ``asked_at`` in the future dates from before the clock was set back.
    """

    metadata: Metadata | None
    problem: TokenEndpointError | None
    asked_at: float
    ask_at: float
    stale_at: float

    def is_useless(self, now: float) -> bool:
        """Return whether it is neither metadata that may be used nor a reason why there is none."""
        return self.problem is None and now >= self.stale_at


_cache: dict[str, _Known] = {}


def with_endpoints(client: OAuthClient) -> OAuthClient:
    """Return a client with the endpoints in its issuer's metadata, if its settings have none.

    The settings take precedence over the metadata.

    Raises:
        RefreshUnavailableError: if the issuer cannot be reached, or its response is unusable.
        ClientMisconfiguredError: if it publishes no metadata, or metadata that must not be used.
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
    """Clear the cache: in tests, issuers use the same address one after another."""
    _cache.clear()


def _get_metadata(issuer: str) -> Metadata:
    known, now = _cache.get(issuer), clock.timestamp()
    if known is None or not known.asked_at <= now < known.ask_at or known.is_useless(now):
        # Leave time for the request for which the metadata is needed.
        limit = conf.http_timeout / 2
        if known and (known.problem or now < known.stale_at):
            # Other callers do not wait meanwhile.
            _remember(issuer, replace(known, asked_at=now, ask_at=now + limit))
        known = _look_again(issuer, known, limit)
        _remember(issuer, known)
    if known.metadata is not None and now < known.stale_at:
        return known.metadata
    raise _copy_error(cast("TokenEndpointError", known.problem), retry_at=known.ask_at)


def _remember(issuer: str, known: _Known) -> None:
    if len(_cache) >= _MOST:
        _cache.clear()
    _cache[issuer] = known


def _look_again(issuer: str, known: _Known | None, limit: float) -> _Known:
    """Return the issuer's present metadata, or the previous one if it cannot be fetched."""
    try:
        with limited(limit):
            metadata, age = _fetch_metadata(issuer)
    except TokenEndpointError as problem:
        logger.warning("The metadata of %s cannot be used: %s", issuer, problem)
        # Another caller may have fetched it meanwhile.
        known = _cache.get(issuer, known)
        now = clock.timestamp()
        return _Known(
            metadata=known.metadata if known else None,
            problem=problem,
            asked_at=now,
            ask_at=now + _PAUSE,
            stale_at=known.stale_at if known else now,
        )
    now = clock.timestamp()
    return _Known(
        metadata=metadata,
        problem=None,
        asked_at=now,
        ask_at=now + age,
        stale_at=now + age + _LONGEST_STALE,
    )


def _copy_error(problem: TokenEndpointError, *, retry_at: float) -> TokenEndpointError:
    """Return the same error without the traceback of the caller that caused it."""
    error = type(problem)(problem.error, problem.error_description, problem.status)
    if isinstance(error, RefreshUnavailableError):
        error.retry_at = clock.from_timestamp(retry_at)
    return error


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
            "no_metadata", "set AUTHORIZATION_ENDPOINT and TOKEN_ENDPOINT", answer.status
        )
    return RefreshUnavailableError("metadata_unavailable", status=answer.status)


def _list_addresses(issuer: str) -> Iterator[str]:
    """Yield the possible addresses. RFC 8414 inserts its part before the path of the issuer."""
    base = issuer.rstrip("/")
    yield f"{base}/.well-known/openid-configuration"
    parts = urlsplit(base)
    path = f"/.well-known/oauth-authorization-server{parts.path}"
    yield parts._replace(path=path).geturl()


def _read_metadata(issuer: str, document: Mapping[str, Any]) -> Metadata:
    named = document.get("issuer")
    if named != issuer:
        raise ClientMisconfiguredError(
            "metadata_of_another_issuer",
            f"its issuer is {named!r}: ISSUER must be exactly that",
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
            "metadata_incomplete", "it has no authorization_endpoint, or no token_endpoint"
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
    """Return an endpoint to which tokens may be sent, or ``None`` if there is none.

    Metadata of another host must not point to this machine, nor to Google.
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
    """Return the strings of a list, or ``None`` for anything else."""
    values = document.get(key)
    if not isinstance(values, list):
        return None
    return tuple(value for value in values if isinstance(value, str))

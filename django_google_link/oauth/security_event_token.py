"""Security event tokens (RFC 8417) of Google's Cross-Account Protection.

See https://developers.google.com/identity/protocols/risc.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from ..conf import clock
from ..conf.clients import OAuthClient
from ..conf.validators import is_endpoint
from ..exceptions import GoogleLinkError, RefreshUnavailableError
from .id_token import CLOCK_SKEW, SUBJECT, is_numeric_date
from .published import ALGORITHMS, NONSENSE, find_signing_key, read_document

_CONFIGURATION = "/.well-known/risc-configuration"
_RISC = "https://schemas.openid.net/secevent/risc/event-type/"
_OAUTH = "https://schemas.openid.net/secevent/oauth/event-type/"
_HASH_BYTES = 64
#: The accepted values of ``typ`` (RFC 8417 section 2.3); Google's tokens have none or "JWT".
_TYPES = frozenset({None, "jwt", "secevent+jwt"})
#: The types of subjects that have a ``sub``.
_SUBJECT_TYPES = frozenset({None, "iss-sub", "iss_sub", "id_token_claims"})

ErrorCode = Literal[
    "invalid_request",
    "invalid_key",
    "invalid_issuer",
    "invalid_audience",
    "authentication_failed",
]
Algorithm = Literal["prefix", "hash_base64_sha512_sha512"]


class RejectedTokenError(GoogleLinkError):
    """A security event token was rejected.

    Args:
        code: an error code of RFC 8935 section 2.4.
        description: for the operators of the transmitter.
    """

    def __init__(self, code: ErrorCode, description: str) -> None:
        super().__init__(description)
        self.code = code


class EventKind(StrEnum):
    """The events that the app handles or requests from Google."""

    SESSIONS_REVOKED = f"{_RISC}sessions-revoked"
    TOKENS_REVOKED = f"{_OAUTH}tokens-revoked"
    TOKEN_REVOKED = f"{_OAUTH}token-revoked"
    ACCOUNT_DISABLED = f"{_RISC}account-disabled"
    ACCOUNT_ENABLED = f"{_RISC}account-enabled"
    CREDENTIAL_CHANGE_REQUIRED = f"{_RISC}account-credential-change-required"
    VERIFICATION = f"{_RISC}verification"


_KNOWN_TYPES = frozenset(map(str, EventKind))


@dataclass(frozen=True, kw_only=True)
class NamedToken:
    """A refresh token as identified in an event: by its first characters or by its hash."""

    algorithm: Algorithm
    identifier: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ToldEvent:
    """An event in a security event token.

    Attributes:
        type: the URI of the event type; a value of ``EventKind`` or another one.
        sub: the account concerned; empty if the event names none, or only a token.
        token: the refresh token concerned, if the event names one.
        reason: Google's reason for disabling an account; empty if there is none.
        state: the ``state`` of a verification request.
        payload: the whole event, without the member that identifies a token.
    """

    type: str
    sub: str = ""
    token: NamedToken | None = None
    reason: str = ""
    state: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class SecurityEventToken:
    """A verified security event token.

    Attributes:
        issuer: the issuer of the grants concerned, as in the settings of the clients.
        transmitter: the ``iss`` of the token, unchanged.
        audience: the ``aud`` of the token, which contains at least one of the site's clients.
        issued_at: the Unix time in seconds.
        jti: the unique id of the token.
    """

    issuer: str
    transmitter: str
    audience: tuple[str, ...]
    issued_at: float
    jti: str = field(repr=False)
    events: tuple[ToldEvent, ...]


def verify_security_event_token(text: str, clients: Iterable[OAuthClient]) -> SecurityEventToken:
    """Verify a security event token and return its content.

    The claims are checked before the signature, so that an anonymous sender cannot cause a request
    for Google's keys with a token that would be rejected anyway.

    Args:
        text: the token as received.
        clients: the configured clients of Google's.

    Raises:
        RejectedTokenError: if the token is rejected.
        RefreshUnavailableError: if the issuer's keys cannot be fetched.
    """
    header, claims = _decode_unverified(text)
    token = _read_token(claims, clients)
    transmitter, jwks_uri = _read_transmitter(token.issuer)
    if token.transmitter != transmitter:
        raise RejectedTokenError("invalid_issuer", "It has a different issuer.")
    _verify_signature(text, header, jwks_uri)
    return token


def _decode_unverified(text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    import jwt

    try:
        decoded = jwt.decode_complete(text, options={"verify_signature": False})
    except (jwt.PyJWTError, *NONSENSE):
        raise RejectedTokenError("invalid_request", "It is not a JSON Web Token.") from None
    header: Mapping[str, Any] = decoded["header"]
    kind, algorithm, kid = (header.get(name) for name in ("typ", "alg", "kid"))
    if isinstance(kind, str):
        kind = kind.lower().removeprefix("application/")
    if not isinstance(kind, str | None) or kind not in _TYPES:
        raise RejectedTokenError(
            "invalid_request", "Its typ is not that of a security event token."
        )
    if algorithm not in ALGORITHMS or not isinstance(kid, str):
        raise RejectedTokenError(
            "invalid_key", "Its signature algorithm or key id is not Google's."
        )
    return header, decoded["payload"]


def _read_token(claims: Mapping[str, Any], clients: Iterable[OAuthClient]) -> SecurityEventToken:
    transmitter, jti = _read_text(claims, "iss"), _read_text(claims, "jti")
    audience, issued_at = _read_audience(claims), _read_issued_at(claims)
    issuers = {client.issuer for client in clients if client.client_id in audience}
    if not issuers:
        raise RejectedTokenError("invalid_audience", "Its audience is none of this site's clients.")
    issuer = min(issuers)
    events = tuple(_read_events(claims, issuer))
    return SecurityEventToken(
        issuer=issuer,
        transmitter=transmitter,
        audience=audience,
        issued_at=issued_at,
        jti=jti,
        events=events,
    )


def _read_text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if isinstance(value, str) and value:
        return value
    raise RejectedTokenError("invalid_request", f"Its claim {name} is not a string.")


def _read_audience(claims: Mapping[str, Any]) -> tuple[str, ...]:
    value = claims.get("aud")
    audience = [value] if isinstance(value, str) else value
    if isinstance(audience, list) and audience and all(isinstance(one, str) for one in audience):
        return tuple(audience)
    raise RejectedTokenError("invalid_request", "Its claim aud is not a string or list of strings.")


def _read_issued_at(claims: Mapping[str, Any]) -> float:
    value: Any = claims.get("iat")
    if not is_numeric_date(value) or value < 0:
        raise RejectedTokenError("invalid_request", "Its claim iat is not a time.")
    if value > clock.timestamp() + CLOCK_SKEW:
        raise RejectedTokenError("invalid_request", "It was issued in the future.")
    return float(value)


def _read_events(claims: Mapping[str, Any], issuer: str) -> Iterator[ToldEvent]:
    events = claims.get("events")
    if not isinstance(events, dict) or not events:
        raise RejectedTokenError("invalid_request", "Its claim events is not an object.")
    for type, payload in events.items():
        if not isinstance(payload, dict):
            raise RejectedTokenError("invalid_request", "One of its events is not an object.")
        yield _read_event(type, payload, issuer)


def _read_event(type: str, payload: Mapping[str, Any], issuer: str) -> ToldEvent:
    shown = _without_token(payload)
    if type not in _KNOWN_TYPES:
        # The project's signal handlers are told about unknown types too, with the sub if readable.
        sub = _find_member(payload, "sub")
        return ToldEvent(
            type=type,
            sub=sub if isinstance(sub, str) and SUBJECT.fullmatch(sub) else "",
            payload=shown,
        )
    if type == EventKind.VERIFICATION:
        return ToldEvent(type=type, state=_read_optional(payload, "state"), payload=shown)
    if not isinstance(payload.get("subject"), dict):
        raise RejectedTokenError("invalid_request", "One of its events has no subject.")
    subject: Mapping[str, Any] = payload["subject"]
    token = _read_named_token(subject) if type == EventKind.TOKEN_REVOKED else None
    is_of_token = type == EventKind.TOKEN_REVOKED and "token" in subject
    return ToldEvent(
        type=type,
        sub=_read_sub(subject, issuer, is_needed=not is_of_token),
        token=token,
        reason=_read_optional(payload, "reason"),
        payload=shown,
    )


def _find_member(payload: Mapping[str, Any], name: str) -> Any:
    subject = payload.get("subject")
    return subject.get(name) if isinstance(subject, dict) else None


def _without_token(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return a payload for signal handlers, without the member that identifies a token."""
    subject = payload.get("subject")
    shown = {key: value for key, value in payload.items() if key != "token"}
    if isinstance(subject, dict):
        shown["subject"] = {key: value for key, value in subject.items() if key != "token"}
    return shown


def _read_optional(payload: Mapping[str, Any], name: str) -> str:
    value = payload.get(name)
    if value is None or isinstance(value, str):
        return value or ""
    raise RejectedTokenError("invalid_request", f"The member {name} of an event is not a string.")


def _read_sub(subject: Mapping[str, Any], issuer: str, *, is_needed: bool) -> str:
    """Return the account concerned, or an empty string for a subject of an unknown type."""
    kind, sub, named = (_read_optional(subject, key) for key in ("subject_type", "sub", "iss"))
    if named and _normalize_issuer(named) != _normalize_issuer(issuer):
        raise RejectedTokenError("invalid_request", "Its subject has a different issuer.")
    if not sub and is_needed and (kind or None) in _SUBJECT_TYPES:
        raise RejectedTokenError("invalid_request", "The subject of one of its events has no sub.")
    if sub and not SUBJECT.fullmatch(sub):
        raise RejectedTokenError("invalid_request", "One of its events has an invalid sub.")
    return sub


def _normalize_issuer(issuer: str) -> str:
    return issuer.removeprefix("https://").rstrip("/")


def _read_named_token(subject: Mapping[str, Any]) -> NamedToken | None:
    """Return the refresh token that an event identifies; ``None`` if it does so in another way."""
    kind, algorithm, value = (
        _read_optional(subject, name) for name in ("token_type", "token_identifier_alg", "token")
    )
    if kind != "refresh_token" or not value:
        return None
    if algorithm == "prefix":
        return NamedToken(algorithm="prefix", identifier=value.encode(errors="replace"))
    if algorithm == "hash_base64_sha512_sha512":
        digest = _decode_base64(value)
        if len(digest) == _HASH_BYTES:
            return NamedToken(algorithm="hash_base64_sha512_sha512", identifier=digest)
    return None


def _decode_base64(text: str) -> bytes:
    """Decode base64 of either alphabet, with or without padding."""
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _read_transmitter(issuer: str) -> tuple[str, str]:
    """Return the issuer name of Google's transmitter and the address of its keys."""
    document = read_document(issuer.rstrip("/") + _CONFIGURATION, rests=True)
    name, jwks_uri = document.get("issuer"), document.get("jwks_uri")
    is_usable = isinstance(name, str) and isinstance(jwks_uri, str) and is_endpoint(jwks_uri)
    if not is_usable:
        raise RefreshUnavailableError("malformed_risc_configuration", status=200)
    return str(name), str(jwks_uri)


def _verify_signature(text: str, header: Mapping[str, Any], jwks_uri: str) -> None:
    import jwt

    key = find_signing_key(jwks_uri, header["kid"], rests=True)
    if key is None:
        raise RejectedTokenError("invalid_key", "It is signed with a key that is not published.")
    try:
        jwt.decode_complete(
            text,
            key,
            algorithms=ALGORITHMS,
            # A security event token does not expire, and the other claims were checked before.
            options={
                "verify_aud": False,
                "verify_exp": False,
                "verify_iat": False,
                "verify_iss": False,
                "verify_jti": False,
                "verify_nbf": False,
                "verify_sub": False,
            },
        )
    except (jwt.PyJWTError, *NONSENSE):
        raise RejectedTokenError("authentication_failed", "Its signature is not valid.") from None

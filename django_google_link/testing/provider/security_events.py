"""Cross-Account Protection: signed security events (RFC 8417), and the API for receivers.

See https://developers.google.com/identity/protocols/risc.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from werkzeug.wrappers import Request, Response

from .endpoints import PATHS
from .id_tokens import IDTokenTampering, sign_id_token
from .identities import FakeUser
from .resources import Endpoint, protected
from .responses import json_response

if TYPE_CHECKING:
    from .provider import Provider

CONTENT_TYPE = "application/secevent+jwt"
PUSH = "https://schemas.openid.net/secevent/risc/delivery-method/push"
_RISC = "https://schemas.openid.net/secevent/risc/event-type/"
_OAUTH = "https://schemas.openid.net/secevent/oauth/event-type/"
_SCOPES = (
    "https://www.googleapis.com/auth/risc.configuration.readwrite",
    "https://www.googleapis.com/auth/cloud-platform",
)
_TIMEOUT = 10  # seconds
_LOOPBACK = {"127.0.0.1", "localhost"}

#: The types of events that Google sends, by the last part of their URIs.
EVENT_TYPES = {
    **{name: f"{_OAUTH}{name}" for name in ("tokens-revoked", "token-revoked")},
    **{
        name: f"{_RISC}{name}"
        for name in (
            "sessions-revoked",
            "account-disabled",
            "account-enabled",
            "account-credential-change-required",
            "verification",
        )
    },
}


@dataclass(kw_only=True)
class EventStream:
    """The receiver that a project has registered."""

    url: str = ""
    events_requested: list[str] = field(default_factory=list)
    status: str = "enabled"


def name_token(token: str, algorithm: str) -> dict[str, str]:
    """Return the subject of an event about a refresh token.

    Args:
        token: the refresh token.
        algorithm: ``"prefix"`` or ``"hash_base64_sha512_sha512"``.
    """
    value = token[:16]
    if algorithm != "prefix":
        digest = hashlib.sha512(hashlib.sha512(token.encode()).digest()).digest()
        value = base64.b64encode(digest).decode()
    return {
        "subject_type": "oauth_token",
        "token_type": "refresh_token",
        "token_identifier_alg": algorithm,
        "token": value,
    }


def sign_events(
    provider: Provider,
    events: Mapping[str, Any],
    *,
    audience: Any,
    issued_at: float | None = None,
    jti: str | None = None,
    tampering: IDTokenTampering,
) -> str:
    """Return a signed security event token. The caller holds no lock."""
    with provider.lock:
        key = provider.keys.current
    claims = {
        "iss": f"{provider.issuer}/",
        "aud": audience,
        "iat": int(provider.now() if issued_at is None else issued_at),
        "jti": jti or secrets.token_hex(16),
        "events": events,
    }
    return sign_id_token(claims, key, tampering)


def risc_configuration(provider: Provider, request: Request) -> Response:
    """Return the configuration of the transmitter: its issuer, keys and endpoints."""
    issuer = provider.issuer
    document = {
        "issuer": f"{issuer}/",
        "jwks_uri": issuer + PATHS["certs"],
        "delivery_methods_supported": [PUSH],
        "configuration_endpoint": issuer + PATHS["stream"],
        "status_endpoint": issuer + PATHS["stream_status"],
        "verification_endpoint": issuer + PATHS["stream_verify"],
    }
    return json_response(document, headers={"Cache-Control": "public, max-age=3600"})


def read_stream(provider: Provider) -> Endpoint:
    """Return the API method that describes the stream."""

    def handler(request: Request, caller: FakeUser) -> dict[str, Any]:
        with provider.lock:
            return _describe_stream(provider)

    return protected(handler, _SCOPES)


def update_stream(provider: Provider) -> Endpoint:
    """Return the API method that registers a receiver."""

    def handler(request: Request, caller: FakeUser) -> dict[str, Any] | Response:
        content = request.get_json()
        delivery, types = content.get("delivery", {}), content.get("events_requested", [])
        unknown = set(types).difference(EVENT_TYPES.values())
        if delivery.get("delivery_method") != PUSH or not delivery.get("url") or unknown:
            return _refuse("Request contains an invalid argument.")
        with provider.lock:
            provider.stream.url = delivery["url"]
            provider.stream.events_requested = list(types)
        return {}

    return protected(handler, _SCOPES)


def read_status(provider: Provider) -> Endpoint:
    """Return the API method that says whether the stream is enabled."""

    def handler(request: Request, caller: FakeUser) -> dict[str, Any]:
        with provider.lock:
            return {"status": provider.stream.status}

    return protected(handler, _SCOPES)


def update_status(provider: Provider) -> Endpoint:
    """Return the API method that enables or disables the stream."""

    def handler(request: Request, caller: FakeUser) -> dict[str, Any] | Response:
        status = request.get_json().get("status")
        if status not in {"enabled", "disabled"}:
            return _refuse("Request contains an invalid argument.")
        with provider.lock:
            provider.stream.status = status
        return {"status": status}

    return protected(handler, _SCOPES)


def verify_stream(provider: Provider) -> Endpoint:
    """Return the API method that sends a verification event, if the receiver is on loopback."""

    def handler(request: Request, caller: FakeUser) -> dict[str, Any] | Response:
        with provider.lock:
            stream = provider.stream
            clients = list(provider.directory.clients)
        if not stream.url or stream.status != "enabled":
            return _refuse("The stream is not enabled.")
        state = request.get_json().get("state", "")
        events = {EVENT_TYPES["verification"]: {"state": state}}
        token = sign_events(
            provider,
            events,
            audience=clients,
            tampering=IDTokenTampering(header={"typ": "secevent+jwt"}),
        )
        if urlsplit(stream.url).hostname in _LOOPBACK:
            threading.Thread(target=_push, args=[stream.url, token], daemon=True).start()
        return {}

    return protected(handler, _SCOPES)


def _push(url: str, token: str) -> None:
    pushed = urllib.request.Request(  # noqa: S310  loopback
        url, data=token.encode(), headers={"Content-Type": CONTENT_TYPE}, method="POST"
    )
    # The response is of no interest, like to Google's caller.
    with suppress(OSError), urllib.request.urlopen(pushed, timeout=_TIMEOUT):  # noqa: S310
        pass


def _describe_stream(provider: Provider) -> dict[str, Any]:
    stream = provider.stream
    if not stream.url:
        return {}
    return {
        "iss": f"{provider.issuer}/",
        "aud": list(provider.directory.clients),
        "delivery": {"delivery_method": PUSH, "url": stream.url},
        "events_requested": stream.events_requested,
        "events_supported": list(EVENT_TYPES.values()),
        "status": stream.status,
    }


def _refuse(message: str) -> Response:
    error = {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}
    return json_response({"error": error}, 400)

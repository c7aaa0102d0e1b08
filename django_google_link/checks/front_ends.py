"""Checks of the settings of front ends, such as addresses that Google does not accept.

See https://developers.google.com/identity/protocols/oauth2/web-server#uri-validation.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from functools import partial
from urllib.parse import unquote, urlsplit

from django.core.checks import CheckMessage

from ..conf.clients import OAuthClient
from ..conf.front_ends import IDENTITY_SERVICES, FrontEnd, get_front_end
from ..conf.validators import is_loopback, read_or_default
from .messages import error, warning

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%00|%C0%80", re.IGNORECASE)
_WRITTEN = re.compile(r"[!-\[\]-~]+")
_TRAVERSAL = re.compile(r"[/\\\\]\.\.")


def check_front_end(client: OAuthClient) -> Iterator[CheckMessage]:
    """Check the settings of one client's front ends."""
    front_end = read_or_default(partial(get_front_end, client.name), None)
    if front_end is None:
        return
    yield from _check_addresses(client, front_end)
    yield from _check_registration(client, front_end)
    yield from _check_modes(client, front_end)


def list_front_end_uris(client: OAuthClient) -> tuple[str, ...]:
    """Return the pages of a client's front ends to which responses may be sent."""
    front_end = read_or_default(partial(get_front_end, client.name), None)
    return front_end.redirect_uris if front_end else ()


def _check_addresses(client: OAuthClient, front_end: FrontEnd) -> Iterator[CheckMessage]:
    settings = (
        ("FRONT_END_REDIRECT_URIS", front_end.redirect_uris),
        ("FRONT_END_ORIGINS", front_end.origins),
    )
    for key, addresses in settings:
        for address in addresses:
            problem = find_problem(address)
            if problem:
                yield error(
                    "E048",
                    f"{address!r} in {key} of the client {client.name!r} {problem}: Google "
                    "does not accept it.",
                    hint="Use an https address with a domain, exactly as registered at Google; "
                    "http is allowed for localhost only.",
                )
                continue
            written = _write_as_browsers_do(address, with_path=key == "FRONT_END_REDIRECT_URIS")
            if written != address:
                yield warning(
                    "W034",
                    f"{address!r} in {key} of the client {client.name!r} is not in the form that "
                    f"browsers use: a page there sends {written!r}, and the two are compared "
                    "exactly.",
                    hint="Write it as browsers do, here and at Google.",
                )


def find_problem(address: str) -> str:
    """Return why Google does not accept an address, or an empty string if it does."""
    try:
        parts = urlsplit(address)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        return "is not an address"
    is_public = not host or not is_loopback(address)
    problems = {
        "is not an absolute address": parts.scheme not in {"http", "https"} or not host,
        "has characters that are not allowed in an address": not _WRITTEN.fullmatch(address),
        "has a wildcard": "*" in address,
        "has a fragment": "#" in address,
        "has a user name": "@" in parts.netloc,
        "has an invalid percent-encoding": bool(_BAD_ESCAPE.search(address)),
        "has a path that contains ..": bool(_TRAVERSAL.search(unquote(parts.path))),
        "is plain http": is_public and parts.scheme == "http",
        "has an IP address instead of a domain": is_public and _is_ip(host),
        "has no top-level domain": is_public and "." not in host.strip("."),
    }
    return next((problem for problem, is_there in problems.items() if is_there), "")


def _write_as_browsers_do(address: str, *, with_path: bool) -> str:
    """Return the ``location.origin`` of a page, followed by its path if ``with_path``."""
    parts = urlsplit(address)
    default = {"http": ":80", "https": ":443"}[parts.scheme]
    origin = f"{parts.scheme}://{parts.netloc.lower().removesuffix(default)}"
    return f"{origin}{parts.path or '/'}" if with_path else origin


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _check_registration(client: OAuthClient, front_end: FrontEnd) -> Iterator[CheckMessage]:
    for uri in front_end.redirect_uris:
        if client.redirect_uris and uri not in client.redirect_uris:
            yield warning(
                "W019",
                f"{uri} in FRONT_END_REDIRECT_URIS of the client {client.name!r} is not "
                "listed in its secrets file.",
                hint="Add it to the client in the Google console and download the file again.",
            )


def _check_modes(client: OAuthClient, front_end: FrontEnd) -> Iterator[CheckMessage]:
    if front_end.modes and not client.is_google:
        yield error(
            "E049",
            f"FRONT_END_MODES of the client {client.name!r} work with Google only, and its "
            "provider is another.",
            hint="Remove them: its front ends use the redirect.",
        )
    if IDENTITY_SERVICES not in front_end.modes:
        return
    if not front_end.origins and not front_end.sends_postmessage:
        yield error(
            "E049",
            f"The client {client.name!r} allows Google's script, but no origin that may run it.",
            hint='Add FRONT_END_ORIGINS: ["https://app.example.com"].',
        )
    if not front_end.redirect_uris:
        yield warning(
            "W020",
            f"The client {client.name!r} allows Google's script, but has no page for the redirect, "
            "which is needed whenever Google has to ask for consent again.",
            hint="Add FRONT_END_REDIRECT_URIS.",
        )

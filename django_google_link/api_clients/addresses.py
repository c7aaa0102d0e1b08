"""The URLs to which an access token may be sent."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from ..conf.clients import to_emulator
from ..conf.validators import is_loopback

_PORTS = {"http": 80, "https": 443}


def find_address(url: str, api_endpoint: str | None) -> str:
    """Return the URL to send a request to, replacing Google's APIs with an emulator if configured.

    Args:
        url: as given by the caller or a redirect.
        api_endpoint: the emulator's ``API_ENDPOINT`` from the settings.

    Raises:
        ValueError: when the URL is invalid, or neither uses https nor is an emulator on this
            machine.
    """
    address = to_emulator(url, api_endpoint)
    parts = urlsplit(address)
    if "\\" in parts.netloc:
        raise ValueError(
            "The host of the URL contains a backslash, which other software parses differently."
        )
    if parts.scheme == "https":
        return address
    if (
        api_endpoint
        and is_loopback(api_endpoint)
        and _find_origin(parts) == _find_origin(urlsplit(api_endpoint))
    ):
        return address
    raise ValueError(
        f"{parts.scheme}://{parts.hostname} is not https: access tokens are sent only over https, "
        "or to an API_ENDPOINT on this machine."
    )


def _find_origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)

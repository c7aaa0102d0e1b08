"""Where an access token may be sent."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from ..conf.clients import to_emulator
from ..conf.validators import is_loopback

_PORTS = {"http": 80, "https": 443}


def find_address(url: str, api_endpoint: str | None) -> str:
    """Return where a request goes: an emulator stands in for Google's APIs, if there is one.

    Args:
        url: as the caller has written it, or as a server has redirected to.
        api_endpoint: of the emulator, as the settings have it.

    Raises:
        ValueError: when it is not https, unless it is that emulator on this machine; or when it
            is no address.
    """
    address = to_emulator(url, api_endpoint)
    parts = urlsplit(address)
    if "\\" in parts.netloc:
        raise ValueError("The host of the address has a backslash: others read another host there.")
    if parts.scheme == "https":
        return address
    if (
        api_endpoint
        and is_loopback(api_endpoint)
        and _find_origin(parts) == _find_origin(urlsplit(api_endpoint))
    ):
        return address
    raise ValueError(
        f"{parts.scheme}://{parts.hostname} is not https: without it nothing is sent, but to the "
        "API_ENDPOINT of the settings where that is on this machine."
    )


def _find_origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)

"""The arguments of ``googleapiclient.discovery.build`` that ``build_service`` accepts."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

#: Arguments about the source of the discovery document.
_OF_DOCUMENT = frozenset(
    {"cache", "cache_discovery", "discoveryServiceUrl", "num_retries", "static_discovery"}
)

#: The arguments of ``build_service`` itself.
_OURS = frozenset({"client", "scopes"})

_REFUSED = {
    "http": "The service creates its own http to send the account's token: omit it. To use "
    "another http, call googleapiclient.discovery.build(…, credentials=credentials_for(owner)).",
    "credentials": "The service uses the credentials of the account: omit them. To use others, "
    "call googleapiclient.discovery.build itself.",
    "serviceName": 'Pass the name of the API by position: build_service(owner, "calendar", "v3").',
}


@dataclass(frozen=True, kw_only=True)
class DocumentSource:
    """The source of an API's discovery document."""

    #: Whether to use the document shipped with googleapiclient.
    is_shipped: bool = True
    #: Whether the process caches a fetched document.
    is_kept: bool = True
    #: A template of its URL; ``None`` if Google publishes it.
    url: str | None = None
    #: A googleapiclient cache, used instead of the process's own.
    cache: Any = None
    #: An API key, which Google requires for some documents.
    developer_key: str | None = None
    num_retries: int = 1


def read_arguments(
    arguments: Mapping[str, Any], *, of_service: Set[str]
) -> tuple[DocumentSource, dict[str, Any]]:
    """Return the source of the document, and the arguments for ``build_from_document``.

    Args:
        arguments: as for ``googleapiclient.discovery.build``.
        of_service: the names of the arguments of ``build_from_document``.

    Raises:
        TypeError: when an argument does not exist, or may not be set by the caller.
    """
    left = of_service - {"service", *_REFUSED}
    known = left | _OF_DOCUMENT
    for name in arguments:
        if name not in known:
            raise TypeError(f"build_service() takes no argument {name!r}. {_advise(name, known)}")
    url = arguments.get("discoveryServiceUrl")
    # The same rule as googleapiclient's.
    is_shipped = arguments.get("static_discovery")
    source = DocumentSource(
        is_shipped=url is None if is_shipped is None else bool(is_shipped),
        is_kept=bool(arguments.get("cache_discovery", True)),
        url=url,
        cache=arguments.get("cache"),
        developer_key=arguments.get("developerKey"),
        num_retries=arguments.get("num_retries", 1),
    )
    return source, {name: value for name, value in arguments.items() if name in left}


def _advise(name: str, known: Set[str]) -> str:
    if name in _REFUSED:
        return _REFUSED[name]
    every = sorted(known | _OURS)
    close = get_close_matches(name, every, n=1)
    return f"Did you mean {close[0]}?" if close else f"It takes {', '.join(every)}."

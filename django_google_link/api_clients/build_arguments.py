"""The arguments of ``googleapiclient.discovery.build``, as ``build_service`` takes them."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

#: Those that say where the discovery document is, and how it is fetched.
_OF_DOCUMENT = frozenset(
    {"cache", "cache_discovery", "discoveryServiceUrl", "num_retries", "static_discovery"}
)

#: Those of ``build_service`` itself.
_OURS = frozenset({"client", "scopes"})

_REFUSED = {
    "http": "The service sends the account's token by an http of its own: leave it out. For "
    "another http, use googleapiclient.discovery.build(…, credentials=credentials_for(owner)).",
    "credentials": "The service has the credentials of the account: leave them out. To use "
    "others, call googleapiclient.discovery.build itself.",
    "serviceName": 'Give the name of the API first: build_service(owner, "calendar", "v3").',
}


@dataclass(frozen=True, kw_only=True)
class DocumentSource:
    """Where the discovery document of an API is."""

    #: Whether it is the one that comes with googleapiclient.
    is_shipped: bool = True
    #: Whether what is fetched is kept by the process.
    is_kept: bool = True
    #: A template of its address; ``None`` where Google publishes it.
    url: str | None = None
    #: googleapiclient's, which replaces that of the process.
    cache: Any = None
    #: An API key, without which Google shows some documents to nobody.
    developer_key: str | None = None
    num_retries: int = 1


def read_arguments(
    arguments: Mapping[str, Any], *, of_service: Set[str]
) -> tuple[DocumentSource, dict[str, Any]]:
    """Return where the document is, and what is left for ``build_from_document``.

    Args:
        arguments: as for ``googleapiclient.discovery.build``.
        of_service: the names of those of ``build_from_document``.

    Raises:
        TypeError: when there is no such argument, or it is not the caller's to choose.
    """
    left = of_service - {"service", *_REFUSED}
    known = left | _OF_DOCUMENT
    for name in arguments:
        if name not in known:
            raise TypeError(f"build_service() takes no argument {name!r}. {_advise(name, known)}")
    url = arguments.get("discoveryServiceUrl")
    # As googleapiclient decides it.
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

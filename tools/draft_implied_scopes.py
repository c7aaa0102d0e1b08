"""Draft which scopes imply others, from the discovery documents that come with googleapiclient.

    python tools/draft_implied_scopes.py [PREFIX …]

A scope is drafted as implying another if every method of every API that accepts the other accepts
it as well. That is necessary and not sufficient: a document does not say that a scope reaches only
a part of the data. What is reviewed stands in ``django_google_link/conf/implied_scopes.py``.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import googleapiclient

DOCUMENTS = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
PREFIX = "https://www.googleapis.com/auth/"


def draft_implied_scopes() -> dict[str, set[str]]:
    """Return for each scope those of which every method accepts it as well."""
    accepted = [frozenset(scopes) for scopes in _list_accepted_scopes()]
    common: dict[str, frozenset[str]] = {}
    for scopes in accepted:
        for scope in scopes:
            common[scope] = common.get(scope, scopes) & scopes
    implied = defaultdict(set)
    for narrow, wide_scopes in common.items():
        for wide in wide_scopes - {narrow}:
            implied[wide].add(narrow)
    return dict(implied)


def _list_accepted_scopes() -> Iterator[list[str]]:
    for path in sorted(DOCUMENTS.glob("*.json")):
        yield from _walk(json.loads(path.read_text(encoding="utf-8")))


def _walk(node: Mapping[str, Any]) -> Iterator[list[str]]:
    for method in node.get("methods", {}).values():
        if method.get("scopes"):
            yield method["scopes"]
    for resource in node.get("resources", {}).values():
        yield from _walk(resource)


def main(prefixes: list[str]) -> None:
    """Print the draft, or the part of it whose scopes begin so."""
    for wide, narrow in sorted(draft_implied_scopes().items()):
        name = wide.removeprefix(PREFIX)
        if name.startswith(tuple(prefixes) or ""):
            print(f"{name}: {' '.join(sorted(scope.removeprefix(PREFIX) for scope in narrow))}")


if __name__ == "__main__":
    main(sys.argv[1:])

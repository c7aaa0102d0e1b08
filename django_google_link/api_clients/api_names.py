"""The names and versions of the APIs that come with googleapiclient, and those that are meant."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.metadata import version as version_of
from pathlib import Path

#: What the products are called, where their APIs are called otherwise.
_PRODUCTS = {
    "contacts": "people",
    "mail": "gmail",
    "spreadsheets": "sheets",
}
_OTHER_WAYS = (
    "For an API that does not come with it, pass static_discovery=False, so that its discovery "
    "document is fetched from Google; or make the service from a document that you have: "
    "googleapiclient.discovery.build_from_document(document, http=authorized_http(owner))."
)


def explain_unknown_api(name: object, version: object, *, directory: str) -> str:
    """Return what is wrong with an API that does not come with googleapiclient, and what to do.

    Args:
        name: of the API, as it was given.
        version: of the API, as it was given.
        directory: of googleapiclient, with its discovery documents.
    """
    package = "google-api-python-client"
    what = f"No API {name!r} comes with {package} {version_of(package)} in version {version!r}."
    return " ".join(filter(None, [what, *_suggest(name, version, directory), _OTHER_WAYS]))


def explain_unpublished_api(name: object, version: object, *, directory: str) -> str:
    """Return what is wrong with an API whose discovery document nobody publishes.

    Arguments as :func:`explain_unknown_api`.
    """
    what = f"No discovery document of an API {name!r} in version {version!r} was found."
    return " ".join(filter(None, [what, *_suggest(name, version, directory)]))


def _suggest(name: object, version: object, directory: str) -> list[str]:
    known = _list_versions(directory)
    meant = _find_name(str(name), known)
    if meant is None and version in known:
        meant, version = str(version), name  # They were given the other way round.
    if meant is None:
        return []
    versions = known[meant]
    wanted = f"v{str(version).lower().lstrip('v')}"
    close = versions if len(versions) == 1 else get_close_matches(wanted, versions, n=1)
    question = f'Did you mean "{meant}", "{close[0]}"?' if close else ""
    return [question, f"{meant!r} has {', '.join(versions)}."] if len(versions) > 1 else [question]


def _find_name(name: str, known: Mapping[str, list[str]]) -> str | None:
    plain = "".join(filter(str.isalnum, name.lower())).removesuffix("googleapiscom")
    short = plain.removeprefix("google").removesuffix("api")
    for candidate in (plain, short, _PRODUCTS.get(short)):
        if candidate in known:
            return candidate
    return next(iter(get_close_matches(short, known, n=1, cutoff=0.75)), None)


@cache
def _list_versions(directory: str) -> Mapping[str, list[str]]:
    versions: dict[str, list[str]] = {}
    for path in sorted(Path(directory).glob("*.json")):
        name, _, version = path.name.removesuffix(".json").partition(".")
        if version:
            versions.setdefault(name, []).append(version)
    return versions

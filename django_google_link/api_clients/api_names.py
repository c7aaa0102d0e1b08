"""Names and versions of the APIs that googleapiclient includes, and suggestions for typos."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.metadata import version as version_of
from pathlib import Path

#: Product names that differ from the names of their APIs.
_PRODUCTS = {
    "contacts": "people",
    "mail": "gmail",
    "spreadsheets": "sheets",
}
_OTHER_WAYS = (
    "For an API that it does not include, pass static_discovery=False, so that its discovery "
    "document is fetched from Google; or build the service from a document that you have: "
    "googleapiclient.discovery.build_from_document(document, http=authorized_http(owner))."
)


def explain_unknown_api(name: object, version: object, *, directory: str) -> str:
    """Return an error message for an API that googleapiclient does not include.

    Args:
        name: the name of the API, as given.
        version: the version of the API, as given.
        directory: googleapiclient's directory of discovery documents.
    """
    package = "google-api-python-client"
    what = (
        f"{package} {version_of(package)} does not include version {version!r} of an API {name!r}."
    )
    return " ".join(filter(None, [what, *_suggest(name, version, directory), _OTHER_WAYS]))


def explain_unpublished_api(name: object, version: object, *, directory: str) -> str:
    """Return an error message for an API whose discovery document was not found.

    For the arguments see :func:`explain_unknown_api`.
    """
    what = f"No discovery document for version {version!r} of an API {name!r} was found."
    return " ".join(filter(None, [what, *_suggest(name, version, directory)]))


def _suggest(name: object, version: object, directory: str) -> list[str]:
    known = _list_versions(directory)
    meant = _find_name(str(name), known)
    if meant is None and version in known:
        meant, version = str(version), name  # The two were swapped.
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

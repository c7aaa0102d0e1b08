"""Addresses of front ends that Google would refuse, and modes that cannot work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

from django_google_link.checks.front_ends import find_problem
from django_google_link.testing import FakeGoogle
from tests.support.front_ends import ORIGIN, PAGE


def ids() -> set[str]:
    """Return the ids of all messages."""
    return {str(message.id).rpartition(".")[2] for message in run_checks()}


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("http://app.example.com/", "is plain http"),
        ("https://app.example.com/#back", "has a fragment"),
        ("https://app.example.com/#", "has a fragment"),
        ("https://*.example.com/", "has a wildcard"),
        ("https://app.example.com/*", "has a wildcard"),
        ("https://anna@app.example.com/", "has a user name"),
        ("https://192.0.2.1/back", "has an IP address instead of a domain"),
        ("https://[2001:db8::1]/back", "has an IP address instead of a domain"),
        ("https://app.example.com/a/../b", "has a path that contains .."),
        ("https://app.example.com/a/%2e%2e/b", "has a path that contains .."),
        ("https://app.example.com/a%5c..", "has a path that contains .."),
        ("https://app.example.com/%", "has an invalid percent-encoding"),
        ("https://app.example.com/%00", "has an invalid percent-encoding"),
        ("https://app.example.com/a b", "has characters that are not allowed in an address"),
        ("https://app.example.com/\\back", "has characters that are not allowed in an address"),
        ("https://äpp.example.com/", "has characters that are not allowed in an address"),
        ("https://app/", "has no top-level domain"),
        ("/back", "is not an absolute address"),
        ("app.example.com", "is not an absolute address"),
        ("myapp://back", "is not an absolute address"),
        ("https://", "is not an absolute address"),
        ("https://app.example.com:port/", "is not an address"),
        ("https://[app/", "is not an address"),
        (PAGE, ""),
        (ORIGIN, ""),
        ("https://app.example.com:8443/back?from=google", ""),
        ("http://localhost:5173/back", ""),
        ("http://127.0.0.1:5173/back", ""),
        ("http://[::1]:5173/back", ""),
    ],
)
def test_what_google_would_refuse(address: str, problem: str) -> None:
    """By the rules that it documents."""
    assert find_problem(address) == problem


def test_addresses_of_both_settings(google: FakeGoogle, configure: Callable[..., None]) -> None:
    """Each is named, with what is wrong."""
    configure(
        FRONT_END_REDIRECT_URIS=[PAGE, "http://app.example.com/back"],
        FRONT_END_ORIGINS=["http://app.example.com"],
    )

    problems = [message.msg for message in run_checks() if str(message.id).endswith("E048")]

    assert len(problems) == 2
    assert all("is plain http" in problem for problem in problems)


@pytest.mark.parametrize(
    ("key", "address", "written"),
    [
        ("FRONT_END_REDIRECT_URIS", ORIGIN, f"{ORIGIN}/"),
        ("FRONT_END_REDIRECT_URIS", f"{PAGE}?from=google", PAGE),
        ("FRONT_END_REDIRECT_URIS", f"{PAGE}?", PAGE),
        ("FRONT_END_REDIRECT_URIS", "https://APP.example.com/linked/", PAGE),
        ("FRONT_END_REDIRECT_URIS", "HTTPS://app.example.com:443/linked/", PAGE),
        ("FRONT_END_REDIRECT_URIS", "http://localhost:80/linked/", "http://localhost/linked/"),
        ("FRONT_END_REDIRECT_URIS", "http://[::1]:5173", "http://[::1]:5173/"),
        ("FRONT_END_ORIGINS", "https://APP.example.com:443", ORIGIN),
    ],
)
def test_address_that_browsers_write_in_another_way(
    google: FakeGoogle, configure: Callable[..., None], key: str, address: str, written: str
) -> None:
    """A page there calls itself by that one, and is compared with the other one to the letter."""
    configure(**{key: [address]})

    [message] = [found for found in run_checks() if str(found.id).endswith("W034")]

    assert f"{address!r} in {key}" in message.msg
    assert f"{written!r}" in message.msg


@pytest.mark.parametrize("page", [PAGE, "http://localhost:5173/linked", "http://[::1]:5173/Back"])
def test_address_that_browsers_write_alike(
    google: FakeGoogle, configure: Callable[..., None], page: str
) -> None:
    """Neither is one that Google would refuse anyhow told twice."""
    configure(FRONT_END_REDIRECT_URIS=[page, "http://APP.example.com/"], FRONT_END_ORIGINS=[ORIGIN])

    assert "W034" not in ids()


def test_page_that_the_secrets_file_does_not_list(
    google: FakeGoogle, configure: Callable[..., None], tmp_path: Path
) -> None:
    """Google would send nobody there."""
    google.client.redirect_uris.append(PAGE)
    path = tmp_path / "client.json"
    path.write_text(json.dumps(google.client_secrets()), encoding="utf-8")
    configure(CLIENT_SECRETS_FILE=path, FRONT_END_REDIRECT_URIS=[PAGE])
    assert "W019" not in ids()

    configure(FRONT_END_REDIRECT_URIS=[PAGE, f"{PAGE}other/"])
    assert "W019" in ids()


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"FRONT_END_MODES": ["mobile"]}, set()),
        ({"FRONT_END_MODES": ["identity_services"]}, {"E049", "W020"}),
        (
            {
                "FRONT_END_MODES": ["identity_services"],
                "IDENTITY_SERVICES_REDIRECT_URI": "postmessage",
                "FRONT_END_REDIRECT_URIS": [PAGE],
            },
            set(),
        ),
        ({"FRONT_END_MODES": ["identity_services"], "FRONT_END_ORIGINS": [ORIGIN]}, {"W020"}),
        ({"FRONT_END_MODES": ["mobile"], "PROVIDER": None}, {"E049"}),
    ],
)
def test_modes(
    google: FakeGoogle, configure: Callable[..., None], keys: dict[str, Any], found: set[str]
) -> None:
    """What they need is there."""
    configure(**keys)

    assert ids() & {"E048", "E049", "W019", "W020"} == found


def test_page_that_is_shared_by_two_issuers(
    google: FakeGoogle, configure: Callable[..., None], settings: Any
) -> None:
    """One of them could take part in the flow of the other."""
    configure(FRONT_END_REDIRECT_URIS=[PAGE])
    assert "E029" not in ids()
    other = {
        "CLIENT_ID": "office",
        "CLIENT_SECRET": "hush",
        "FRONT_END_REDIRECT_URIS": ["https://APP.example.com:443/linked/"],
        **dict.fromkeys(
            ("ISSUER", "AUTHORIZATION_ENDPOINT", "TOKEN_ENDPOINT", "JWKS_URI"),
            "https://office.example/x",
        ),
    }
    clients = {**settings.GOOGLE_LINK["CLIENTS"], "office": other}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": clients}

    assert "E029" in ids()


def test_settings_that_cannot_be_read_are_left_to_their_own_check(
    google: FakeGoogle, configure: Callable[..., None]
) -> None:
    """They are told once."""
    configure(FRONT_END_REDIRECT_URIS=PAGE)

    assert ids() & {"E044", "E048", "E049"} == {"E044"}

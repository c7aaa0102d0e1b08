"""Which clients share the grant of a user: to revoke for one would end it for the other."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from django_google_link.conf.clients import share_grant
from django_google_link.conf.providers import GOOGLE_ISSUER, google_project_number

SUFFIX = ".apps.googleusercontent.com"


@pytest.mark.parametrize(
    ("client_id", "project"),
    [
        (f"123-abc{SUFFIX}", "123"),
        (f"123-abc-def{SUFFIX}", "123"),
        (f"123-{SUFFIX}", "123"),
        ("123-abc", ""),
        ("123-abc.example.com", ""),
        (f"123-abc{SUFFIX}.example.com", ""),
        (f"123-abc{SUFFIX} ", ""),
        (f"123-abc{SUFFIX.upper()}", ""),
        (f"x123-abc{SUFFIX}", ""),
        (f"-abc{SUFFIX}", ""),
        (f"123{SUFFIX}", ""),
        ("", ""),
    ],
)
def test_project_is_read_from_client_ids_of_googles_alone(client_id: str, project: str) -> None:
    """The digits before the first hyphen, and only where the rest is as Google writes it."""
    assert google_project_number(client_id) == project


@pytest.mark.parametrize(
    ("one", "other", "do_share"),
    [
        (f"123-abc{SUFFIX}", f"123-def{SUFFIX}", True),
        (f"123-abc{SUFFIX}", f"124-abc{SUFFIX}", False),
        (f"123-abc{SUFFIX}", "123-abc", False),
        ("123-abc", "123-def", False),
        ("123-abc", "123-abc", True),
        ("", "", True),
        ("abc", "def", False),
    ],
)
def test_clients_of_one_project_share_a_grant(one: str, other: str, do_share: bool) -> None:
    """At Google; a name that only looks like a project's is none."""
    rows = [SimpleNamespace(issuer=GOOGLE_ISSUER, client_id=id) for id in (one, other)]

    assert share_grant(*rows) is do_share
    assert share_grant(*reversed(rows)) is do_share


def test_clients_of_other_issuers_share_nothing_but_themselves() -> None:
    """Whatever client ids they give out."""
    other = "https://id.example.com"
    first = SimpleNamespace(issuer=other, client_id=f"123-abc{SUFFIX}")
    second = SimpleNamespace(issuer=other, client_id=f"123-def{SUFFIX}")
    at_google = SimpleNamespace(issuer=GOOGLE_ISSUER, client_id=f"123-abc{SUFFIX}")

    assert share_grant(first, first)
    assert not share_grant(first, second)
    assert not share_grant(first, at_google)
    assert not share_grant(at_google, first)

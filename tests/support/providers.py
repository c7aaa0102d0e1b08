"""Providers other than Google, played by the testing kit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytest_django import Settings

from django_google_link.testing import FakeClient, FakeGoogle
from tests.support.constants import CALLBACK

START = "/google/authorize/"


def play_provider(
    google: FakeGoogle, settings: Settings, *, name: str = "default", **traits: Any
) -> FakeClient:
    """Serve a client as by another provider, and configure it.

    Args:
        google: plays the provider.
        settings: its ``GOOGLE_LINK`` gets the client, in place of one with the same name.
        name: the name of the client.
        traits: attributes of the ``FakeClient``, and settings of the client in capitals.
    """
    keys = {key: value for key, value in traits.items() if key.isupper()}
    client = google.client if name == "default" else google.add_client()
    client.is_googles = False
    client.redirect_uris.append(f"{CALLBACK}{name}/")
    for attribute in traits.keys() - keys.keys():
        setattr(client, attribute, traits[attribute])
    clients = settings.GOOGLE_LINK["CLIENTS"]
    own = {**google.client_settings(client), "SCOPES": ["read", "write"], **keys}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {**clients, name: own}}
    return client


@contextmanager
def other_issuer(settings: Settings) -> Iterator[FakeGoogle]:
    """Serve another issuer, and configure the client ``other`` there."""
    with FakeGoogle() as google:
        clients = settings.GOOGLE_LINK["CLIENTS"]
        clients = {**clients, "other": {**google.client_settings(), "SCOPES": ["openid"]}}
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": clients}
        yield google


def without(settings: Settings, *keys: str) -> None:
    """Remove keys from the default client."""
    clients = settings.GOOGLE_LINK["CLIENTS"]
    own = {key: value for key, value in clients["default"].items() if key not in keys}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {**clients, "default": own}}

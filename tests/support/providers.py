"""Providers that are not Google, played by the testing kit."""

from __future__ import annotations

from typing import Any

from pytest_django import Settings

from django_google_link.testing import FakeClient, FakeGoogle
from tests.support.constants import CALLBACK

START = "/google/authorize/"


def play_provider(
    google: FakeGoogle, settings: Settings, *, name: str = "default", **traits: Any
) -> FakeClient:
    """Let a client be served as by another provider, and the settings lead to it.

    Args:
        google: plays it.
        settings: whose ``GOOGLE_LINK`` gets the client, in place of one of that name.
        name: of the client.
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


def without(settings: Settings, *keys: str) -> None:
    """Leave keys of the default client out."""
    clients = settings.GOOGLE_LINK["CLIENTS"]
    own = {key: value for key, value in clients["default"].items() if key not in keys}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {**clients, "default": own}}

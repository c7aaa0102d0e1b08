"""The clients that other checks can look at."""

from __future__ import annotations

from functools import partial

from ..conf.clients import OAuthClient, get_client
from ..conf.settings import conf
from ..conf.validators import read_or_default


def list_usable_clients() -> list[OAuthClient]:
    """Return the clients whose settings are valid; ``checks.settings`` reports the others."""
    names = read_or_default(lambda: conf.clients, {})
    clients = [read_or_default(partial(get_client, name), None) for name in names]
    return [client for client in clients if client]

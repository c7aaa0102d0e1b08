"""A site whose front end has one page for what Google sends back, however it is mounted."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.support.front_ends import FrontEnd
from tests.support.mounts import MOUNTS


@pytest.fixture
def front_end(allow_front_end: None, browser: Client) -> FrontEnd:
    """The front end of the user's, with a Django session."""
    return FrontEnd(browser)


@pytest.fixture
def others_front_end(front_end: FrontEnd, other_user: Any) -> FrontEnd:
    """The same front end, in another user's hands."""
    client = Client()
    client.force_login(other_user)
    return FrontEnd(client)


@pytest.fixture(params=MOUNTS)
def mounted(
    request: pytest.FixtureRequest, allow_front_end: None, api_site: None, user: Any
) -> FrontEnd:
    """The front end of the user's, at each mount in turn."""
    api = MOUNTS[request.param]
    if request.param == "django":
        client = Client()
        client.force_login(user)
        return FrontEnd(client, api=api)
    return FrontEnd(Client(), api=api, authorization="Bearer token-anna")

"""A site whose front end has one page for what Google sends back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from django_google_link.testing import FakeGoogle
from tests.support.front_ends import PAGE, FrontEnd


@pytest.fixture
def front_end(google: FakeGoogle, configure: Callable[..., None], browser: Client) -> FrontEnd:
    """The front end of the user's, with a Django session."""
    configure(FRONT_END_REDIRECT_URIS=[PAGE])
    google.client.redirect_uris.append(PAGE)
    return FrontEnd(browser)


@pytest.fixture
def others_front_end(front_end: FrontEnd, other_user: Any) -> FrontEnd:
    """The same front end, in another user's hands."""
    client = Client()
    client.force_login(other_user)
    return FrontEnd(client)

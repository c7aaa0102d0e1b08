"""The ticket of a front end, completed by two processes at the same time."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from django_google_link.headless import start_link
from django_google_link.models import GoogleAccount, SpentState
from django_google_link.testing import FakeGoogle, FakeUser
from tests.concurrency.workers import Worker, results_of
from tests.support.databases import new_user
from tests.support.front_ends import PAGE

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("shared_database")]


@pytest.mark.parametrize("delay", [0, 0.3])
def test_ticket_is_completed_by_one_of_two_processes(
    google: FakeGoogle, configure: Callable[..., None], alice: FakeUser, delay: float
) -> None:
    """Each code is exchanged once; the other process gets ``ticket_used`` and the account."""
    configure(FRONT_END_REDIRECT_URIS=[PAGE])
    google.client.redirect_uris.append(PAGE)
    google.delay = delay
    user = new_user()
    started = [start_link(user, {}, host="testserver") for _ in range(4)]
    came = [google.answer_link(link, user=alice) for link in started]
    order = {"user": str(user.pk), "came": came}

    results = results_of(*(Worker("complete_links", None, **order) for _ in range(2)))

    assert [result.error for result in results] == [None, None]
    account = GoogleAccount.objects.get()
    for answers in zip(*(json.loads(str(result.value)) for result in results), strict=True):
        statuses = {answer["status"]: answer for answer in answers}
        assert statuses.keys() == {200, 409}
        assert statuses[409]["error"] == "ticket_used"
        for answer in answers:
            assert answer["account"]["id"] == str(account.pk)
    assert len(google.requests_to("token")) == len(came)
    assert SpentState.objects.count() == len(came)

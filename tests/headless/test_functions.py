"""The functions below the mounts, called by a site that has a framework of its own."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser

from django_google_link.headless import (
    FrontEndError,
    change_account,
    complete_link,
    list_accounts,
    start_link,
    unlink_account,
)
from django_google_link.models import GoogleAccount
from django_google_link.testing.accounts import make_google_account

pytestmark = pytest.mark.django_db


def test_id_that_a_path_has_converted(user: Any) -> None:
    """``<uuid:id>`` hands over no text."""
    account = make_google_account(user)

    assert change_account(user, account.pk, {"label": "Work"})["label"] == "Work"
    unlink_account(user, account.pk)

    assert not GoogleAccount.objects.exists()


@pytest.mark.parametrize("id", [None, 7, b"x", object()])
def test_id_that_is_none(user: Any, id: Any) -> None:
    """Whatever a framework makes of a path, it is a refusal."""
    with pytest.raises(FrontEndError) as refused:
        unlink_account(user, id)

    assert refused.value.error == "account_not_found"


@pytest.mark.parametrize("nobody", [None, AnonymousUser()])
def test_nobody_is_logged_in(nobody: Any) -> None:
    """Some frameworks have a user for that, and some have none."""
    for call in (
        lambda: list_accounts(nobody),
        lambda: start_link(nobody, {}, host="testserver"),
        lambda: complete_link(nobody, {}, host="testserver"),
        lambda: unlink_account(nobody, "x"),
    ):
        with pytest.raises(FrontEndError) as refused:
            call()
        assert (refused.value.status, refused.value.error) == (401, "login_required")


@pytest.mark.usefixtures("allow_front_end")
@pytest.mark.parametrize("data", [[], [["ticket", "x"]], None, "ticket", 1, 1.5, True])
def test_data_that_is_no_object(user: Any, data: Any) -> None:
    """What a framework has read as JSON may be anything."""
    account = make_google_account(user)
    for call in (
        lambda: start_link(user, data, host="testserver"),
        lambda: complete_link(user, data, host="testserver"),
        lambda: change_account(user, str(account.pk), data),
    ):
        with pytest.raises(FrontEndError) as refused:
            call()
        assert (refused.value.status, refused.value.error) == (400, "invalid_json")

"""Errors cross processes: a task queue pickles them, a test runner copies them."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from django.utils import timezone

from django_google_link.exceptions import NotLinkedError, TokenUndecryptableError
from django_google_link.models import GoogleAccount
from tests.documentation.pages import PUBLIC_MODULES

# What parameters get that take no text.
VALUES: dict[str, Any] = {
    "account": GoogleAccount(client="default", sub="1", email="anna@gmail.com", user_id=7),
    "detail": {"reason": "not_linked"},
    "missing_scopes": ["openid", "email"],
    "retry_at": timezone.now(),
    "status": 503,
}

COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda error: pickle.loads(pickle.dumps(error)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}

PUBLIC_ERRORS = sorted(
    {
        value
        for module in map(import_module, PUBLIC_MODULES)
        for value in (getattr(module, name) for name in module.__all__)
        if isinstance(value, type) and issubclass(value, Exception)
    },
    key=lambda error: error.__name__,
)


def make_error(error: type[Exception]) -> Exception:
    """Return an error that was given all that it takes."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for parameter in inspect.signature(error.__init__).parameters.values():
        value = VALUES.get(parameter.name, f"the {parameter.name}")
        if parameter.kind is parameter.KEYWORD_ONLY:
            named[parameter.name] = value
        elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.name != "self":
            positional.append(value)
    return error(*positional, **named)


@pytest.mark.matrix
@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("error", PUBLIC_ERRORS)
def test_copy_has_all_attributes(error: type[Exception], copied: Callable[[Any], Any]) -> None:
    """Whatever its constructor takes, and with the notes that somebody added."""
    original = make_error(error)
    original.add_note("while the report was written")

    twin = copied(original)

    assert isinstance(twin, error)
    assert type(twin) is type(original)
    assert str(twin) == str(original)
    assert twin.args == original.args
    assert vars(twin) == vars(original)


def test_user_and_client_follow_the_account() -> None:
    """Also where the account is named after the error was made, and in a copy of that."""
    error = TokenUndecryptableError()
    assert (error.account, error.client, error.user_id) == (None, "", None)

    error.account = GoogleAccount(client="second", sub="1", user_id=7)

    for twin in (error, *(copied(error) for copied in COPIES.values())):
        assert (twin.account, twin.client, twin.user_id) == (error.account, "second", 7)


def test_user_and_client_stay_without_an_account() -> None:
    """Where there is no account, somebody may know for whom there is none."""
    error = NotLinkedError(client="second")
    error.user_id = 7

    error.account = None

    assert (error.client, error.user_id) == ("second", 7)

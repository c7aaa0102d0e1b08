"""The commands that generate and wrap encryption keys."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from django_google_link.encryption.key_services import EXTRAS
from django_google_link.encryption.keyring import key_ids, make_key, require_key
from django_google_link.exceptions import KeyServiceError
from tests.support.key_services import HUSH, Safe, use_keys, wrap

pytestmark = pytest.mark.usefixtures("key_service")


def run(command: str, **options: Any) -> tuple[list[str], str]:
    """Run a command; return the lines of its output and its messages."""
    out, err = io.StringIO(), io.StringIO()
    call_command(f"google_link_{command}", stdout=out, stderr=err, **options)
    return out.getvalue().splitlines(), err.getvalue()


def test_generated_key_is_a_key(settings: Settings) -> None:
    """A key can be generated before the settings are complete."""
    settings.GOOGLE_LINK = None

    [key], words = run("generate_key")

    settings.GOOGLE_LINK = {}
    use_keys(settings, key)
    require_key()
    assert words == ""


def test_generated_key_is_wrapped(settings: Settings) -> None:
    """The printed key has been unwrapped once, to check that it works."""
    [text], words = run("generate_key", wrap_with="safe:one")

    assert len(Safe.asked) == 1
    assert words == ""
    use_keys(settings, text)
    require_key()
    assert text.startswith(f"safe:one:{key_ids()[0]}:")


def test_keys_are_wrapped_anew(settings: Settings) -> None:
    """All keys are wrapped in their order, with a warning about those that were in plain text."""
    plain = make_key()
    use_keys(settings, wrap(), plain, wrap())
    before = key_ids()

    texts, words = run("rewrap_keys", wrap_with="safe:two", site="there")

    assert [text.split(":")[:3] for text in texts] == [["safe", "two", id] for id in before]
    assert words.startswith(f"The key {before[1]} was in plain text")
    assert plain not in "".join(texts)
    use_keys(settings, *texts)
    with pytest.raises(KeyServiceError):
        require_key()
    use_keys(settings, *texts, ENCRYPTION_SITE="there")
    require_key()


@pytest.mark.parametrize("command", ["generate_key", "rewrap_keys"])
@pytest.mark.parametrize(
    ("wrap_with", "changes", "said"),
    [
        ("safe", {}, "--wrap-with is 'safe', which does not name"),
        ("safe:", {}, "does not name a key service and its key. Use aws-kms:alias/"),
        (":one", {}, "does not name"),
        ("vault:one", {}, "There is no key service 'vault'. Use one of"),
        ("safe:three", {}, "The key 'three' of safe cannot wrap keys: safe fails with KeyError."),
        ("safe:one", {"ENCRYPTION_SITE": None}, "'www.example.com'|\"www.example.com\""),
        ("safe:one", {"KEY_SERVICES": {"safe": "no.such.Safe"}}, "cannot be imported from no"),
    ],
)
def test_key_that_cannot_be_wrapped_is_told(
    settings: Settings, command: str, wrap_with: str, changes: dict[str, Any], said: str
) -> None:
    """A key that would not work is not printed."""
    use_keys(settings, wrap(), **changes)

    with pytest.raises(CommandError, match=said):
        run(command, wrap_with=wrap_with)


@pytest.mark.parametrize("command", ["generate_key", "rewrap_keys"])
def test_key_that_does_not_unwrap_again_is_not_printed(settings: Settings, command: str) -> None:
    """Permission to wrap does not imply permission to unwrap."""
    use_keys(settings, wrap())
    Safe.failure = PermissionError(HUSH)

    with pytest.raises(
        CommandError, match="could not be unwrapped by safe, which fails with"
    ) as caught:
        run(command, wrap_with="safe:one")

    assert HUSH not in str(caught.value)


@pytest.mark.parametrize(("service", "extra"), [("aws-kms", "aws"), ("google-kms", "gcp")])
def test_extra_that_is_not_installed_is_told(
    monkeypatch: pytest.MonkeyPatch, service: str, extra: str
) -> None:
    """The error says which command to run."""
    module = f"django_google_link.contrib.{service.replace('-', '_')}"
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(EXTRAS, service, ("not-installed", extra))

    with pytest.raises(CommandError, match=rf'python -m pip install "django-google-link\[{extra}'):
        run("generate_key", wrap_with=f"{service}:one")

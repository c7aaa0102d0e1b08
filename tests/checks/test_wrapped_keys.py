"""System checks of keys that a key service has wrapped."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

from django_google_link.encryption.key_services import EXTRAS
from django_google_link.encryption.keyring import key_ids, make_key
from tests.support.key_services import HUSH, Safe, make_up, use_keys, wrap

pytestmark = pytest.mark.usefixtures("key_service")


def found(*, deploy: bool = False) -> dict[str, str]:
    """Return what the app's checks say of the keys, by its id."""
    messages = run_checks(include_deployment_checks=deploy)
    texts = {
        str(message.id).rpartition(".")[2]: f"{message.msg} {message.hint}" for message in messages
    }
    assert len(texts) == len(messages)
    return {
        id: text for id, text in texts.items() if id in {"E004", "E070", "E071", "E072", "W033"}
    }


def test_wrapped_key_that_unwraps_is_well(settings: Settings) -> None:
    """The service is asked where users are, and nowhere else."""
    use_keys(settings, wrap())

    assert found() == {}
    assert Safe.asked == []
    assert found(deploy=True) == {}
    assert len(Safe.asked) == 1


def test_wrapped_key_that_does_not_unwrap_is_found(settings: Settings) -> None:
    """With what its service says, in our words."""
    use_keys(settings, wrap())
    Safe.failure = ConnectionError(HUSH)

    assert found() == {}
    assert found(deploy=True) == {
        "E072": f"The encryption key {key_ids()[0]} could not be unwrapped by safe, which fails "
        "with ConnectionError. Check the configuration of the key service; it is called again "
        "at the next use."
    }


def test_plain_key_beside_a_wrapped_one_is_found(settings: Settings) -> None:
    """It may stay until all is re-encrypted; alone it is as well as ever."""
    use_keys(settings, wrap(), make_key())

    assert found() == {}
    assert f"The encryption key {key_ids()[1]} is in plain text" in found(deploy=True)["W033"]
    use_keys(settings, make_key())
    assert found(deploy=True) == {}


@pytest.mark.parametrize(
    ("keys", "changes", "id", "said"),
    [
        (["safe:one"], {}, "E004", "Encryption key 1 is not a complete wrapped key."),
        (
            [make_key(), "safe:one:AAAAAAAA"],
            {},
            "E004",
            "Encryption key 2 is not a complete wrapped key.",
        ),
        (
            [make_up("vault", "one")],
            {},
            "E071",
            "'vault'. Use one of aws-kms, google-kms, safe, or",
        ),
        ([make_up("safe", "one")], {"ENCRYPTION_SITE": None}, "E070", "is missing, and each"),
    ],
)
def test_wrapped_key_that_cannot_be_read_is_found(
    settings: Settings, keys: list[str], changes: dict[str, Any], id: str, said: str
) -> None:
    """Once, with what to type, and without asking anybody."""
    use_keys(settings, *keys, **changes)

    assert said in found(deploy=True)[id]
    assert set(found()) == {id}
    assert Safe.asked == []


@pytest.mark.parametrize(("service", "extra"), [("aws-kms", "aws"), ("google-kms", "gcp")])
def test_extra_that_is_not_installed_is_found(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, service: str, extra: str
) -> None:
    """Before anybody needs the key, and not twice; a service of the project's own needs none."""
    monkeypatch.setitem(EXTRAS, service, ("not-installed", extra))
    use_keys(settings, make_up(service, "one"))

    for deploy in (False, True):
        assert set(found(deploy=deploy)) == {"E071"}
    assert f'python -m pip install "django-google-link[{extra}]"' in found()["E071"]
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "KEY_SERVICES": {service: "no.such.Service"}}
    assert found() == {}
    assert "cannot be imported from no.such.Service" in found(deploy=True)["E071"]

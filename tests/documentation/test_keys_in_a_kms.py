"""The key service of the guide, with a Vault of the tests' own."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.core.management import call_command
from pytest_django import Settings
from werkzeug import Request, Response

from django_google_link.encryption.keyring import require_key
from django_google_link.exceptions import KeyServiceError
from tests.documentation.pages import block_with
from tests.support.key_services import use_keys
from tests.support.servers import served

_KEY = os.urandom(32)


@Request.application
def vault(request: Request) -> Response:
    """Answer as the transit engine does: https://developer.hashicorp.com/vault/api-docs/secret/transit."""
    _, _, method, name = request.path.removeprefix("/").split("/")
    assert (request.headers["X-Vault-Token"], name) == ("s.token", "google-link")
    body = {key: value.encode() for key, value in request.get_json().items()}
    context = base64.b64decode(body["associated_data"])
    cipher, nonce = AESGCM(_KEY), bytes(12)
    if method == "encrypt":
        wrapped = cipher.encrypt(nonce, base64.b64decode(body["plaintext"]), context)
        return answer({"ciphertext": f"vault:v1:{base64.b64encode(wrapped).decode()}"})
    wrapped = base64.b64decode(body["ciphertext"].removeprefix(b"vault:v1:"))
    try:
        return answer(
            {"plaintext": base64.b64encode(cipher.decrypt(nonce, wrapped, context)).decode()}
        )
    except InvalidTag:
        return Response('{"errors": ["hush-hush"]}', 400)


def answer(data: dict[str, str]) -> Response:
    """Return what Vault answers."""
    return Response(json.dumps({"data": data}))


@pytest.fixture
def site(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A site with the guide's module and settings."""
    module, names = ModuleType("mysite.keys"), {"os": os}
    exec(block_with("howto/keys-in-a-kms", "class Vault"), module.__dict__)
    monkeypatch.setitem(sys.modules, "mysite", ModuleType("mysite"))
    monkeypatch.setitem(sys.modules, "mysite.keys", module)
    monkeypatch.setenv("GOOGLE_LINK_KEYS", "none yet")
    exec(block_with("howto/keys-in-a-kms", "KEY_SERVICES"), names)
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, **names["GOOGLE_LINK"]}  # type: ignore[dict-item]
    with served(vault) as url:
        monkeypatch.setenv("VAULT_ADDR", url)
        monkeypatch.setenv("VAULT_TOKEN", "s.token")
        yield settings


def test_key_service_of_the_guide_wraps_and_unwraps(site: Settings) -> None:
    """And is bound to the site."""
    out: Any = io.StringIO()
    call_command("google_link_generate_key", wrap_with="vault:google-link", stdout=out)
    text = out.getvalue().strip()

    use_keys(site, text, ENCRYPTION_SITE="staging.example.com")
    with pytest.raises(KeyServiceError, match="which fails with HTTPError") as caught:
        require_key()
    assert "hush" not in str(caught.value)
    use_keys(site, text, ENCRYPTION_SITE="www.example.com")
    require_key()


def test_key_service_of_the_guide_takes_thirty_lines() -> None:
    """And no more, but for blank ones."""
    lines = block_with("howto/keys-in-a-kms", "class Vault").splitlines()

    assert len([line for line in lines if line.strip()]) <= 30

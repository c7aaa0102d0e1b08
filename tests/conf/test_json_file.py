"""JSON files with secrets: what is read of them, and what is told."""

from __future__ import annotations

import codecs
import json
import os
from pathlib import Path

import pytest
from pytest_django import Settings

from django_google_link.conf.clients import get_client
from django_google_link.conf.json_file import explain_failure, read_json_file
from django_google_link.conf.service_accounts import get_service_account
from django_google_link.secret import Secret

CLIENT = {"web": {"client_id": "id", "client_secret": "hush-hush"}}
KEY = {
    "type": "service_account",
    "client_email": "reports@project.iam.gserviceaccount.com",
    "private_key": "hush-hush",
    "token_uri": "https://oauth2.googleapis.com/token",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where to write a file."""
    return tmp_path / "file.json"


def test_byte_order_mark_is_tolerated(path: Path, settings: Settings) -> None:
    """Editors on Windows write one, into either kind of file."""
    path.write_bytes(codecs.BOM_UTF8 + json.dumps(CLIENT).encode())
    key_path = path.with_name("key.json")
    key_path.write_bytes(codecs.BOM_UTF8 + json.dumps(KEY).encode())
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "CLIENTS": {"default": {"CLIENT_SECRETS_FILE": path}},
        "SERVICE_ACCOUNTS": {"reports": {"FILE": key_path}},
    }

    assert get_client().client_id == "id"
    assert get_service_account("reports").principal == KEY["client_email"]


@pytest.mark.parametrize("content", [CLIENT, KEY, {"refresh_token": "hush-hush"}])
def test_secrets_are_hidden_whatever_file_it_is(path: Path, content: object) -> None:
    """The content stands in frames, which Django's debug page shows."""
    path.write_text(json.dumps(content))

    assert "hush-hush" not in repr(read_json_file(path))


def test_file_is_parsed_once_per_version(path: Path) -> None:
    """An unchanged file costs a look at its status; a changed one is read again."""
    path.write_text('{"client_secret": "old"}')
    first = read_json_file(path)

    assert read_json_file(path) is first

    path.write_text('{"client_secret": "new"}')
    os.utime(path, ns=(1, 1))

    assert read_json_file(path) == {"client_secret": Secret("new")}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"private_key": "hush-hush', "it is not JSON"),
        (b"\xffhush-hush", "it is not JSON"),
        (b'"' + b"x" * 100_000 + b'"', "it has 100002 bytes"),
    ],
)
def test_content_is_not_quoted(path: Path, content: bytes, says: str) -> None:
    """What is wrong with a file is told without a part of it."""
    path.write_bytes(content)

    with pytest.raises(ValueError, match=says) as caught:
        read_json_file(path)

    assert "hush-hush" not in str(caught.value)


def test_missing_file_is_explained_without_its_path(path: Path) -> None:
    """The message that it stands in names the file already."""
    with pytest.raises(FileNotFoundError) as caught:
        read_json_file(path)

    assert explain_failure(caught.value) == "No such file or directory"

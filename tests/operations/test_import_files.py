"""Token files of other programs: each is imported, or reported with what it is and what to do."""

from __future__ import annotations

import base64
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from social_django.models import UserSocialAuth

from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.constants import CALENDAR
from tests.support.databases import new_user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]


@pytest.fixture
def anna(shared_database: None) -> Any:
    """A user of this site."""
    return new_user("anna")


@pytest.fixture
def refresh_token(google: FakeGoogle, alice: FakeUser) -> str:
    """A token from an earlier grant to this site's client."""
    return google.grant(alice, ["openid", "email", CALENDAR]).refresh_token


def run(*arguments: Any) -> tuple[int, str]:
    """Run the command; return its exit code and output."""
    out = io.StringIO()
    try:
        call_command("google_link_import", *map(str, arguments), stdout=out)
    except CommandError as error:
        return error.returncode, f"{out.getvalue()}{error}"
    return 0, out.getvalue()


def import_file(path: Path, *options: Any) -> tuple[int, str]:
    """Import a file for Anna."""
    return run("files", "--user", "anna", path, *options)


#: What each program writes, without the client's id and secret.
PLAIN: dict[str, dict[str, Any]] = {
    "node": {"scope": CALENDAR, "token_type": "Bearer", "expiry_date": 1_700_000_000_000},
    "php": {
        "expires_in": 3599,
        "scope": CALENDAR,
        "token_type": "Bearer",
        "created": 1_700_000_000,
    },
    "go": {"token_type": "Bearer", "expiry": "2024-01-01T00:00:00Z", "expires_in": 3599},
    "requests-oauthlib": {
        "scope": [CALENDAR],
        "token_type": "Bearer",
        "expires_at": 1_700_000_000.5,
    },
    "dotnet": {"token_type": "Bearer", "Issued": "2024-01-01T00:00:00", "IssuedUtc": "2024-01-01"},
    "with an ID token": {"id_token": "eyJ.e30.x", "token_type": "bearer"},
}


@pytest.mark.matrix
@pytest.mark.parametrize("name", PLAIN)
def test_answer_of_the_token_endpoint(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str, tmp_path: Path, name: str
) -> None:
    """It does not state its client, so the operator names it."""
    path = tmp_path / "token.json"
    content = {"access_token": "ya29.old", "refresh_token": refresh_token, **PLAIN[name]}
    path.write_text(json.dumps(content))

    code, said = import_file(path)
    assert (code, "issued to a client that is not configured here" in said) == (1, True)
    assert google.requests_to("token") == []

    assert import_file(path, "--client", "default")[0] == 0
    assert GoogleAccount.objects.get().sub == alice.sub


def write_gcloud(google: FakeGoogle, refresh_token: str) -> dict[str, Any]:
    """Return what gcloud, gspread and the newer Node quickstart write."""
    client = google.client_settings()
    return {
        "type": "authorized_user",
        "client_id": client["CLIENT_ID"],
        "client_secret": client["CLIENT_SECRET"],
        "refresh_token": refresh_token,
        "quota_project_id": "daybook",
        "universe_domain": "googleapis.com",
    }


ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "utf-8": str.encode,
    "byte order mark": lambda text: text.encode("utf-8-sig"),
    "PowerShell": lambda text: text.encode("utf-16"),
    "utf-16-be": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "utf-16 without a mark": lambda text: text.encode("utf-16-le"),
    "utf-32": lambda text: text.encode("utf-32"),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode() + b"\r\n",
    "blank lines": lambda text: f"\n\n {text}\n\n".encode(),
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64 with a line break": lambda text: base64.b64encode(text.encode()) + b"\n",
    "encoded twice": lambda text: json.dumps(text).encode(),
}


@pytest.mark.matrix
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings(
    google: FakeGoogle,
    anna: Any,
    refresh_token: str,
    tmp_path: Path,
    encoding: str,
) -> None:
    """Shells and editors choose encodings that users do not notice."""
    path = tmp_path / "authorized_user.json"
    text = json.dumps(write_gcloud(google, refresh_token), indent=2)
    path.write_bytes(ENCODINGS[encoding](text))

    assert import_file(path, "--wipe-source")[0] == 0

    assert GoogleAccount.objects.get().user_id == anna.pk
    assert not path.exists()


PICKLED = {"token": "ya29.x", "refresh_token": "1//x"}
DOCUMENT = '{"client_id": "x", "refresh_token": "1//secret"}'


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("token.pickle", pickle.dumps(PICKLED), "it is a pickle, which is never loaded"),
        ("token.pickle", pickle.dumps(PICKLED, 0), "it is a pickle, which is never loaded"),
        ("token.pkl", b"", "it is a pickle, which is never loaded"),
        ("token", pickle.dumps(PICKLED), "print(credentials.to_json())"),
        ("token", base64.b64encode(pickle.dumps(PICKLED)), "it is a pickle"),
        ("StoredCredential", b"\xac\xed\x00\x05sr", "it is Java's StoredCredential"),
        ("credentials.db", b"SQLite format 3\0", "pass application_default_credentials.json"),
        ("token.json", b"", "it is empty"),
        ("token.json", b" \r\n", "it is empty"),
        ("token.json", b"\xef\xbb\xbf", "it is empty"),
        ("token.json", b"\xff\xff\xff", "it is not text"),
        ("token.json", b"token = 1//secret", "it is neither JSON nor base64"),
        ("token.json", b"1//secret", "it is neither JSON nor base64"),
        ("token.json", b"{'refresh_token': '1//secret'}", "it is not JSON"),
        ("token.json", DOCUMENT[:-1].encode(), "it is not JSON"),
        ("token.json", b"[" * 90_000, "it is not JSON"),
        ("token.json", b" " * 100_001, "more than 100,000 bytes"),
        (
            "tokens.jsonl",
            f"{DOCUMENT}\n{DOCUMENT}\n".encode(),
            "it contains several JSON documents",
        ),
        ("tokens.json", f"[{DOCUMENT}]".encode(), "it contains several JSON documents"),
        ("tokens.json", f'{{"data": [{DOCUMENT}]}}'.encode(), "it contains several JSON documents"),
        ("tokens.json", b"[]", "it contains no user credentials"),
        ("token.json", b'"3"', "it contains no user credentials"),
        ("token.json", b'{"py/state": 3}', "it contains no user credentials"),
        ("token.json", b'{"error": "invalid_grant"}', "it contains no user credentials"),
        (
            "credentials.json",
            b'{"installed": {"client_id": "x"}}',
            "in a client's CLIENT_SECRETS_FILE",
        ),
        ("client_secret.json", b'{"web": {"client_id": "x"}}', "in a client's CLIENT_SECRETS_FILE"),
        ("key.json", b'{"type": "service_account"}', "belongs in SERVICE_ACCOUNTS"),
        ("adc.json", b'{"type": "external_account"}', "workload identity federation"),
        ("adc.json", b'{"type": "impersonated_service_account"}', "use IMPERSONATE"),
    ],
)
def test_file_that_is_something_else(
    google: FakeGoogle,
    anna: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    content: bytes,
    said: str,
) -> None:
    """The log says what it is and what to do; it is kept, and the exit code is 2."""
    path = tmp_path / name
    path.write_bytes(content)

    code, summary = import_file(path, "--wipe-source", "--client", "default")

    assert code == 2
    assert "1 skipped: cannot be read" in summary
    assert said in caplog.text
    assert "secret" not in caplog.text.replace("client_secret.json", "")
    assert path.read_bytes() == content


@pytest.mark.matrix
@pytest.mark.parametrize("refresh_token", [None, "", 7])
def test_file_without_a_refresh_token(
    google: FakeGoogle,
    anna: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    refresh_token: Any,
) -> None:
    """The program that wrote it did not request one."""
    path = tmp_path / "token.json"
    path.write_text(json.dumps({**write_gcloud(google, ""), "refresh_token": refresh_token}))

    code, said = import_file(path)

    assert (code, "1 skipped: no refresh token" in said) == (2, True)
    assert "request access_type=offline and prompt=consent" in caplog.text


def test_token_of_gcloud_itself(
    google: FakeGoogle, anna: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It was issued to gcloud's client, which cannot be configured here."""
    client_id = "764086051850-6qr4p6gpi6hn506pt8ejuq83di341hur.apps.googleusercontent.com"
    path = tmp_path / "application_default_credentials.json"
    path.write_text(json.dumps({**write_gcloud(google, "1//x"), "client_id": client_id}))

    assert import_file(path)[0] == 1

    assert "it was issued to gcloud itself" in caplog.text
    assert google.requests_to("token") == []


def test_some_are_taken(google: FakeGoogle, anna: Any, refresh_token: str, tmp_path: Path) -> None:
    """The exit code says that some files were skipped."""
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(write_gcloud(google, refresh_token)))
    bad.write_text("{}")

    code, said = run("files", "--user", "anna", good, bad)

    assert code == 2
    assert "1 imported" in said
    assert "1 were skipped permanently: see the log." in said


def test_directory(google: FakeGoogle, anna: Any, tmp_path: Path) -> None:
    """Files in a directory are not searched."""
    code, said = import_file(tmp_path)

    assert (code, said) == (1, f"The file {tmp_path} cannot be read: it is a directory.")


# social-auth


def in_social_auth(user: Any, uid: str, extra_data: Any) -> UserSocialAuth:
    """Store this in social-auth's table."""
    return UserSocialAuth.objects.create(
        user=user, provider="google-oauth2", uid=uid, extra_data=extra_data
    )


def test_extra_data_as_text(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str
) -> None:
    """A text column stays text when its tokens are removed."""
    content = {"access_token": "ya29.old", "refresh_token": refresh_token, "id": 7}
    row = in_social_auth(anna, alice.email, json.dumps(content))

    assert run("social-auth", "--wipe-source")[0] == 0

    assert GoogleAccount.objects.get().sub == alice.sub
    row.refresh_from_db()
    assert row.extra_data == '{"id": 7}'


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("extra_data", "code", "said"),
    [
        ("{'refresh_token': '1//secret'}", 2, "its extra_data is text that is not JSON"),
        ("", 2, "its extra_data is text that is not JSON"),
        ([1], 2, "its extra_data is not a JSON object"),
        ("[1]", 2, "its extra_data is not a JSON object"),
        ({}, 0, ""),
        ("{}", 0, ""),
        ("null", 0, ""),
    ],
)
def test_extra_data_of_another_kind(
    google: FakeGoogle,
    anna: Any,
    caplog: pytest.LogCaptureFixture,
    extra_data: Any,
    code: int,
    said: str,
) -> None:
    """It is reported; rows without tokens are normal for logins."""
    in_social_auth(anna, "1", extra_data)

    assert run("social-auth", "--wipe-source")[0] == code

    assert said in caplog.text
    assert "secret" not in caplog.text

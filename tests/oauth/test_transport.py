"""One request to an endpoint: what goes with it, and how much may come back."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from django_google_link.exceptions import RefreshUnavailableError
from django_google_link.oauth.transport import fetch
from django_google_link.testing import FakeGoogle
from tests.support.https_servers import served_securely, write_certificate

pytestmark = pytest.mark.slow

LONG = json.dumps({"access_token": "ya29.x", "padding": "x" * 1_000_000}).encode()


@pytest.mark.parametrize("form", [{}, None])
def test_netrc_is_not_sent_by_https(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Any
) -> None:
    """Where proxies and authorities of the environment are heeded, and its passwords are not."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login operator password secret\n")
    certificate, key = write_certificate(tmp_path)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    seen: list[dict[str, str]] = []

    @Request.application
    def application(request: Request) -> Response:
        seen.append(dict(request.headers))
        return Response("{}", content_type="application/json")

    with served_securely(application, certificate, key) as url:
        assert fetch(f"{url}/token", form=form).status == 200

    assert len(seen) == 1
    assert "Authorization" not in seen[0]


def test_certificate_that_nobody_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no endpoint of anybody's."""
    certificate, key = write_certificate(tmp_path)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    with (
        served_securely(Response("{}"), certificate, key) as url,
        pytest.raises(RefreshUnavailableError, match=r"SSLError \(SSLCertVerificationError\)"),
    ):
        fetch(f"{url}/token", form={})


def test_reason_why_nobody_can_be_reached(google: FakeGoogle) -> None:
    """The library has one word for all; the first error in the chain tells them apart."""
    google.fail_next(drop=True)
    with pytest.raises(RefreshUnavailableError, match=r"unreachable: .*\(RemoteDisconnected\)"):
        fetch(f"{google.url}/token", form={})

    google.stop()
    with pytest.raises(RefreshUnavailableError, match=r"unreachable: .*\(ConnectionRefusedError\)"):
        fetch(f"{google.url}/token", form={})

    with pytest.raises(RefreshUnavailableError, match=r"unreachable: .*\(gaierror\)"):
        fetch("http://token.invalid/token", form={})

    with pytest.raises(RefreshUnavailableError, match=r"\(unreachable: InvalidSchema\)"):
        fetch("gopher://127.0.0.1/token", form={})


def test_half_an_answer_is_an_answer(google: FakeGoogle) -> None:
    """Whoever has begun it can be reached, and no network is to blame."""
    google.fail_next(status=200, body={"access_token": "ya29.x"}, drop=True)

    with pytest.raises(RefreshUnavailableError, match="answer_cut_short") as caught:
        fetch(f"{google.url}/token", form={})

    assert caught.value.status == 200
    assert "ya29" not in str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("gzip, gzip", lambda body: gzip.compress(gzip.compress(body))),
    ],
)
def test_answer_that_is_too_long_is_not_read(
    google: FakeGoogle, encoding: str, encode: Callable[[bytes], bytes]
) -> None:
    """Though it makes sense to its end, and is small until it is decoded."""
    headers = {"Content-Encoding": encoding}
    google.fail_next(status=200, body=encode(LONG), headers=headers)

    with pytest.raises(RefreshUnavailableError, match="answer_too_long"):
        fetch(f"{google.url}/token", form={})


@pytest.mark.parametrize("encode", [bytes, gzip.compress])
def test_answer_that_is_just_short_enough(
    google: FakeGoogle, encode: Callable[[bytes], bytes]
) -> None:
    """The limit is a million bytes."""
    body = LONG[:-2].replace(b"x" * 1_000_000, b"x" * 999_900) + b'"}'
    headers = {"Content-Encoding": "identity" if encode is bytes else "gzip"}
    google.fail_next(status=200, body=encode(body), headers=headers)

    assert fetch(f"{google.url}/token", form={}).document["access_token"] == "ya29.x"

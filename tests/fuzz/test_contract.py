"""A fuzzer that is driven by the OpenAPI document, against each mount on a socket.

Whatever it sends, the answers are those that the document knows, and none is an error of the
server's. It prints how many cases it has tried.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django.live_server_helper import LiveServer

from django_google_link.headless import read_openapi
from django_google_link.testing import FakeGoogle, FakeUser, make_google_account
from tests.support.front_ends import PAGE, FrontEnd
from tests.support.mounts import MOUNTS

pytestmark = [pytest.mark.fuzz, pytest.mark.slow]

SCHEMATHESIS = shutil.which("schemathesis")

#: For each operation, in each of the fuzzer's phases.
EXAMPLES = "150"

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)


def document(front_end: FrontEnd, account: str) -> dict[str, Any]:
    """Return the contract with what is real among what may be sent, so that some of it works."""
    contract = read_openapi()
    schemas = contract["components"]["schemas"]
    started = front_end.start(add=True)
    refused = front_end.client.get("/agenda/", headers=front_end.headers).json()
    real = {
        "LinkStart": {
            "link_request": refused.get("link_request", ""),
            "account": account,
            "redirect_uri": PAGE,
            "add": True,
        },
        "LinkCompletion": {
            "ticket": started["ticket"],
            "state": started["state"],
            "redirect_uri": PAGE,
            "error": "access_denied",
        },
    }
    for name, members in real.items():
        for member, value in members.items():
            properties = schemas[name]["properties"]
            properties[member] = {"anyOf": [{"const": value}, properties[member]]}
    parameter = contract["paths"]["/accounts/{id}/"]["parameters"][0]
    parameter["schema"] = {"anyOf": [{"const": account}, parameter["schema"]]}
    return contract


@pytest.mark.skipif(SCHEMATHESIS is None, reason="Schemathesis is in a group of its own.")
@pytest.mark.parametrize("mount", MOUNTS)
def test_answers_are_those_of_the_contract(
    live_server: LiveServer,
    allow_front_end: None,
    api_site: None,
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    mount: str,
) -> None:
    """For some thousand requests of all kinds, the same at each run."""
    client = Client()
    client.force_login(user)
    session, token = client.cookies["sessionid"].value, "a" * 32
    account = make_google_account(user, status="needs_reauthorization")
    contract = document(FrontEnd(client), str(account.pk))
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(contract), encoding="utf-8")
    headers = {"Authorization": "Bearer token-anna"}
    if mount == "django":
        headers = {"Cookie": f"sessionid={session}; csrftoken={token}", "X-CSRFToken": token}

    command = [str(SCHEMATHESIS), "run", str(path), "--url", live_server.url + MOUNTS[mount]]
    command += ["--seed", "1", "--max-examples", EXAMPLES, "--checks", ",".join(CHECKS)]
    command += ["--phases", "examples,coverage,fuzzing", "--generation-database", "none"]
    command += [part for item in headers.items() for part in ("-H", ": ".join(item))]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    cases = re.search(r"([\d,]+) generated", result.stdout)
    assert cases, result.stdout + result.stderr
    with capfd.disabled():
        print(f"\n{mount}: {cases[1]} cases")
    assert result.returncode == 0, result.stdout
    assert int(cases[1].replace(",", "")) > 500

"""A Cloud KMS for tests, called by Google's client over HTTP."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from werkzeug import Request, Response

from tests.support.servers import served

LOCATION = "projects/diary/locations/europe/keyRings/web/cryptoKeys/"


class GoogleKMSServer:
    """Encrypts and decrypts with keys that it keeps to itself.

    See https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys.
    """

    def __init__(self) -> None:
        self.keys = {f"{LOCATION}{name}": os.urandom(32) for name in ("one", "two")}
        #: The methods that were called.
        self.asked: list[str] = []
        #: The response to every request, if set.
        self.answer: Callable[[], Response] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.url = self._stack.enter_context(served(self._answer))
        return self

    def __exit__(self, *args: object) -> None:
        self._stack.close()

    @Request.application
    def _answer(self, request: Request) -> Response:
        name, _, method = request.path.removeprefix("/v1/").partition(":")
        self.asked.append(method)
        if self.answer:
            return self.answer()
        if name not in self.keys:
            return refuse(404, "NOT_FOUND")
        body = request.get_json()
        cipher, context = AESGCM(self.keys[name]), _decode(body["additionalAuthenticatedData"])
        if method == "encrypt":
            nonce = os.urandom(12)
            data = nonce + cipher.encrypt(nonce, _decode(body["plaintext"]), context)
            return _answer_json(
                {"name": f"{name}/cryptoKeyVersions/1", "ciphertext": _encode(data)}
            )
        data = _decode(body["ciphertext"])
        try:
            return _answer_json(
                {"plaintext": _encode(cipher.decrypt(data[:12], data[12:], context))}
            )
        except InvalidTag:
            return refuse(400, "INVALID_ARGUMENT")


def refuse(status: int, word: str, message: str = "hush-hush") -> Response:
    """Return an error in the format of Google's APIs."""
    content = {"error": {"code": status, "message": message, "status": word}}
    return _answer_json(content, status=status)


def _answer_json(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content), status, content_type="application/json")


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text)

"""Google Cloud Key Management Service: encryption keys wrapped with a key that never leaves it.

Needs the extra ``gcp``. Credentials are the machine's default ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.views.decorators.debug import sensitive_variables
from google.api_core.exceptions import (
    BadRequest,
    Forbidden,
    GoogleAPICallError,
    NotFound,
    Unauthorized,
)
from google.auth.exceptions import DefaultCredentialsError
from google.cloud.kms_v1 import KeyManagementServiceClient

from ..encryption.key_services import KeyService
from ..encryption.muting import mute_loggers

__all__ = ["GoogleKeyService"]

#: Seconds. Whoever waits for a page is told after HTTP_TIMEOUT, and who comes later at once.
_TIMEOUT = 5

# By HTTP there is no other word for a key that is disabled than for one that was not used.
_ADVICE: dict[type[Exception], str] = {
    BadRequest: "It was wrapped with another key or for another ENCRYPTION_SITE, or is damaged, or "
    "its key or the version that wrapped it is disabled: see in Cloud KMS that they are enabled, "
    "and that ENCRYPTION_SITE is as it was, and copy the key once more, as it was printed.",
    Forbidden: "Grant the identity of this process the role "
    "roles/cloudkms.cryptoKeyEncrypterDecrypter for this key.",
    NotFound: "Correct the name of the key: projects/…/locations/…/keyRings/…/cryptoKeys/….",
    Unauthorized: "Give this machine default credentials that Google accepts.",
}


class GoogleKeyService(KeyService):
    """Wraps with symmetric keys of Cloud KMS, by their resource names."""

    def make_client(self) -> Any:
        """Return Google's client: override it for credentials or an endpoint of your own.

        It speaks HTTP and not gRPC, which may hang in a process that was forked.
        """
        return KeyManagementServiceClient(transport="rest")

    @sensitive_variables()
    def wrap(self, key: bytes, *, name: str, context: Mapping[str, str]) -> tuple[str, bytes]:
        """Encrypt a key."""
        request = {
            "name": name,
            "plaintext": key,
            "additional_authenticated_data": _encode_context(context),
        }
        with self.make_client() as client, mute_loggers("google"):
            answer = client.encrypt(request=request, timeout=_TIMEOUT, retry=None)
        return name, answer.ciphertext

    @sensitive_variables()
    def unwrap(self, wrapped: bytes, *, name: str, context: Mapping[str, str]) -> bytes:
        """Decrypt a key, with no other key and in no other context than it was encrypted."""
        request = {
            "name": name,
            "ciphertext": wrapped,
            "additional_authenticated_data": _encode_context(context),
        }
        with self.make_client() as client, mute_loggers("google"):
            answer = client.decrypt(request=request, timeout=_TIMEOUT, retry=None)
        key: bytes = answer.plaintext
        return key

    def explain(self, error: Exception) -> tuple[str, str]:
        """Return the kind of Google's answer, and what to do about it."""
        if isinstance(error, DefaultCredentialsError):
            return (
                "has no credentials",
                "Give this machine default credentials: see "
                "https://cloud.google.com/docs/authentication/application-default-credentials.",
            )
        what, advice = super().explain(error)
        if isinstance(error, GoogleAPICallError):
            what = f"answers {type(error).__name__}"
        known = [text for kind, text in _ADVICE.items() if isinstance(error, kind)]
        return what, known[0] if known else advice


def _encode_context(context: Mapping[str, str]) -> bytes:
    """Return the one form of a context: never change it."""
    return json.dumps(context, sort_keys=True, separators=(",", ":")).encode()

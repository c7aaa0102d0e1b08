"""Google Cloud Key Management Service: encryption keys wrapped with a key that never leaves it.

Needs the extra ``gcp``. It uses Application Default Credentials.
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
from google.auth import exceptions
from google.cloud.kms_v1 import KeyManagementServiceClient

from ..encryption.key_services import KeyService
from ..encryption.muting import mute_loggers

__all__ = ["GoogleKeyService"]

#: Seconds. Callers wait no longer than HTTP_TIMEOUT for the first attempt, and not for the next.
_TIMEOUT = 5

# Over HTTP, the error for a disabled key is the same as that for a different key.
_ADVICE: dict[type[Exception], str] = {
    BadRequest: "It was wrapped with a different key or for another ENCRYPTION_SITE, it is "
    "damaged, or the key version is disabled: check in Cloud KMS that it is enabled, check that "
    "ENCRYPTION_SITE has not changed, and copy the key again, exactly as it was printed.",
    Forbidden: "Grant the identity of this process the role "
    "roles/cloudkms.cryptoKeyEncrypterDecrypter for this key.",
    NotFound: "Correct the name of the key: projects/…/locations/…/keyRings/…/cryptoKeys/….",
    Unauthorized: "Give this machine default credentials that Google accepts.",
}


class GoogleKeyService(KeyService):
    """Wraps keys with symmetric keys of Cloud KMS, named by their resource names."""

    def make_client(self) -> Any:
        """Return Google's client. Override it to use credentials or an endpoint of your own.

        It uses HTTP instead of gRPC, which may hang in a forked process.
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
        """Decrypt a key. The key that encrypted it and the context have to be the same."""
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
        """Return the class of Google's error, and what to do about it."""
        if isinstance(error, exceptions.DefaultCredentialsError):
            return (
                "has no credentials",
                "Give this machine default credentials: see "
                "https://cloud.google.com/docs/authentication/application-default-credentials.",
            )
        what, advice = super().explain(error)
        if isinstance(error, GoogleAPICallError):
            what = f"responded with {type(error).__name__}"
        known = [text for kind, text in _ADVICE.items() if isinstance(error, kind)]
        return what, known[0] if known else advice


def _encode_context(context: Mapping[str, str]) -> bytes:
    """Return the canonical form of a context. Never change it: stored keys depend on it."""
    return json.dumps(context, sort_keys=True, separators=(",", ":")).encode()

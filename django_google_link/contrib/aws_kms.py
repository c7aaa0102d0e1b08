"""AWS Key Management Service: encryption keys wrapped with a key that never leaves it.

Needs the extra ``aws``. boto3 finds the credentials and the region, unless the name of the key is
an ARN, which contains the region.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, NoCredentialsError, NoRegionError
from django.views.decorators.debug import sensitive_variables

from ..encryption.key_services import KeyService
from ..encryption.muting import mute_loggers

__all__ = ["AWSKeyService"]

#: Seconds. Callers wait no longer than HTTP_TIMEOUT for the first attempt, and not for the next.
_CONNECT_TIMEOUT = 3
_READ_TIMEOUT = 5

#: See https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html#API_Decrypt_Errors.
_ADVICE = {
    "AccessDeniedException": "Allow the identity of this process kms:Encrypt and kms:Decrypt for "
    "this key, in its policy or the key's, with the context of this site.",
    "DisabledException": "Enable the key in AWS KMS.",
    "IncorrectKeyException": "It was wrapped with a different key: copy it again, exactly as it "
    "was printed.",
    "InvalidCiphertextException": "It was wrapped for another ENCRYPTION_SITE, or is damaged: "
    "check that ENCRYPTION_SITE has not changed, and copy the key again, exactly as it was "
    "printed.",
    "KMSInvalidStateException": "Check the state of the key in AWS KMS: is its deletion pending?",
    "NotFoundException": "Correct the name of the key, which does not exist in this account and "
    "region.",
}
_CREDENTIALS = {
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "UnrecognizedClientException",
}


class _OtherKeyError(Exception):
    """AWS used a different key from the one named: the ciphertext itself names its key."""


class AWSKeyService(KeyService):
    """Wraps keys with symmetric keys of AWS KMS, named by their id, ARN or alias."""

    def make_client(self, region: str | None) -> Any:
        """Return boto3's client. Override it to use a session or an endpoint of your own.

        Args:
            region: the region in the ARN of the key, or ``None`` for boto3's default.
        """
        config = Config(
            connect_timeout=_CONNECT_TIMEOUT,
            read_timeout=_READ_TIMEOUT,
            retries={"total_max_attempts": 1},
        )
        return boto3.session.Session().client("kms", region_name=region, config=config)

    @sensitive_variables()
    def wrap(self, key: bytes, *, name: str, context: Mapping[str, str]) -> tuple[str, bytes]:
        """Encrypt a key. The returned name is the ARN of the key that an alias refers to now."""
        client = self.make_client(_find_region(name))
        with mute_loggers("botocore"):
            answer = client.encrypt(KeyId=name, Plaintext=key, EncryptionContext=dict(context))
        return answer["KeyId"], answer["CiphertextBlob"]

    @sensitive_variables()
    def unwrap(self, wrapped: bytes, *, name: str, context: Mapping[str, str]) -> bytes:
        """Decrypt a key. The key that encrypted it and the context have to be the same."""
        client = self.make_client(_find_region(name))
        with mute_loggers("botocore"):
            answer = client.decrypt(
                KeyId=name, CiphertextBlob=wrapped, EncryptionContext=dict(context)
            )
        if answer["KeyId"] != name:
            raise _OtherKeyError
        key: bytes = answer["Plaintext"]
        return key

    def explain(self, error: Exception) -> tuple[str, str]:
        """Return the error code of AWS's response, and what to do about it."""
        if isinstance(error, NoRegionError):
            return "has no region", "Name the key by its ARN, or set AWS_DEFAULT_REGION."
        if isinstance(error, NoCredentialsError):
            return "has no credentials", _CREDENTIALS_ADVICE
        if isinstance(error, _OtherKeyError):
            return "used a different key from the one that is named", _ADVICE[
                "IncorrectKeyException"
            ]
        if not isinstance(error, ClientError):
            return super().explain(error)
        # Only the code, without special characters: the response may contain any text.
        code = re.sub(r"\W", "", str(error.response.get("Error", {}).get("Code")))[:60]
        advice = _CREDENTIALS_ADVICE if code in _CREDENTIALS else _ADVICE.get(code)
        return f"responded with {code}", advice or super().explain(error)[1]


_CREDENTIALS_ADVICE = (
    "Give this process credentials for AWS: https://docs.aws.amazon.com/boto3/latest/guide/"
    "credentials.html."
)


def _find_region(name: str) -> str | None:
    """Return the region in the name of a key, if that is an ARN: ``arn:aws:kms:<region>:…``."""
    parts = name.split(":")
    return (parts[3] if parts[0] == "arn" and len(parts) > 3 else "") or None

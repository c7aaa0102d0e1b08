"""AWS Key Management Service: encryption keys wrapped with a key that never leaves it.

Needs the extra ``aws``. Credentials and region are boto3's affair; the region of a key's ARN is
used where there is one.
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

#: Seconds. Whoever waits for a page is told after HTTP_TIMEOUT, and who comes later at once.
_CONNECT_TIMEOUT = 3
_READ_TIMEOUT = 5

#: By https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html#API_Decrypt_Errors.
_ADVICE = {
    "AccessDeniedException": "Allow the identity of this process kms:Encrypt and kms:Decrypt for "
    "this key, in its policy or the key's, with the context of this site.",
    "DisabledException": "Enable the key in AWS KMS.",
    "IncorrectKeyException": "It was wrapped with another key: copy it once more, as it was "
    "printed.",
    "InvalidCiphertextException": "It was wrapped for another ENCRYPTION_SITE, or is damaged: see "
    "that ENCRYPTION_SITE is as it was, and copy the key once more, as it was printed.",
    "KMSInvalidStateException": "See in AWS KMS why the key cannot be used: is it to be deleted?",
    "NotFoundException": "Correct the name of the key: no key of this account and region has it.",
}
_CREDENTIALS = {
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "UnrecognizedClientException",
}


class _OtherKeyError(Exception):
    """What was wrapped names its key itself, and AWS is to believe us rather than it."""


class AWSKeyService(KeyService):
    """Wraps with symmetric keys of AWS KMS, by their id, ARN or alias."""

    def make_client(self, region: str | None) -> Any:
        """Return boto3's client: override it for a session or an endpoint of your own.

        Args:
            region: of the ARN of the key; ``None`` for boto3's own.
        """
        config = Config(
            connect_timeout=_CONNECT_TIMEOUT,
            read_timeout=_READ_TIMEOUT,
            retries={"total_max_attempts": 1},
        )
        return boto3.session.Session().client("kms", region_name=region, config=config)

    @sensitive_variables()
    def wrap(self, key: bytes, *, name: str, context: Mapping[str, str]) -> tuple[str, bytes]:
        """Encrypt a key; it is unwrapped by the ARN of what an alias stands for today."""
        client = self.make_client(_find_region(name))
        with mute_loggers("botocore"):
            answer = client.encrypt(KeyId=name, Plaintext=key, EncryptionContext=dict(context))
        return answer["KeyId"], answer["CiphertextBlob"]

    @sensitive_variables()
    def unwrap(self, wrapped: bytes, *, name: str, context: Mapping[str, str]) -> bytes:
        """Decrypt a key, with no other key and in no other context than it was encrypted."""
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
        """Return the code of AWS's answer, and what to do about it."""
        if isinstance(error, NoRegionError):
            return "knows no region", "Name the key by its ARN, or set AWS_DEFAULT_REGION."
        if isinstance(error, NoCredentialsError):
            return "has no credentials", _CREDENTIALS_ADVICE
        if isinstance(error, _OtherKeyError):
            return "has used another key than the one that is named", _ADVICE[
                "IncorrectKeyException"
            ]
        if not isinstance(error, ClientError):
            return super().explain(error)
        # Of the text no more than a word: it is a stranger's, and might say anything.
        code = re.sub(r"\W", "", str(error.response.get("Error", {}).get("Code")))[:60]
        advice = _CREDENTIALS_ADVICE if code in _CREDENTIALS else _ADVICE.get(code)
        return f"answers {code}", advice or super().explain(error)[1]


_CREDENTIALS_ADVICE = (
    "Give this process credentials for AWS: https://docs.aws.amazon.com/boto3/latest/guide/"
    "credentials.html."
)


def _find_region(name: str) -> str | None:
    """Return the region of a key, if its name says it: ``arn:aws:kms:<region>:…``."""
    parts = name.split(":")
    return (parts[3] if parts[0] == "arn" and len(parts) > 3 else "") or None

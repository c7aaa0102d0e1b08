"""Names of refresh tokens in Google's security events, and the rows found by them."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from django_google_link.encryption.keyring import list_digests
from django_google_link.models import GoogleAccount


def double_hash(token: str) -> str:
    """Return a token's double hash, in Google's encoding."""
    return base64.b64encode(double_hash_bytes(token)).decode()


def double_hash_bytes(token: str) -> bytes:
    """Return the SHA-512 of the SHA-512 of a token."""
    return hashlib.sha512(hashlib.sha512(token.encode()).digest()).digest()


def found_by(token: str) -> list[Any]:
    """Return the primary keys of the rows found by each of a token's two names."""
    prefixes = list_digests("refresh_token.prefix", token[:16].encode())
    hashes = list_digests("refresh_token.double_hash", double_hash_bytes(token))
    by_prefix = GoogleAccount.objects.filter(refresh_token_prefix_digest__in=prefixes)
    by_hash = GoogleAccount.objects.filter(refresh_token_hash_digest__in=hashes)
    return [sorted(rows.values_list("pk", flat=True)) for rows in (by_prefix, by_hash)]


def is_found_by_its_token(account: GoogleAccount) -> bool:
    """Return whether both names of the stored token lead to this row, as stored."""
    row = GoogleAccount.objects.get(pk=account.pk)
    token = row.unseal_token("refresh_token")
    assert token is not None
    return all(row.pk in found for found in found_by(token.reveal()))

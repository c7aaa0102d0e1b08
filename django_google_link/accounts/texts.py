"""Preparing external texts for databases that cannot represent every character."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..oauth.id_token import Identity


def keep_printable(text: str) -> str:
    """Remove unprintable characters: line breaks, escape sequences, bidirectional controls."""
    return "".join(filter(str.isprintable, text))


def list_simpler_texts(text: str) -> list[str]:
    """Return a text as it is, then with fewer and fewer characters.

    Most databases accept every character. MySQL's ``utf8mb3`` has no emoji, and a database in
    ``latin1`` has little beyond Western European letters.
    """
    return [text, *(_keep_text(text, is_taken) for is_taken in _ALPHABETS)]


def list_simpler_identities(identity: Identity) -> list[Identity]:
    """Return an identity as it is, then with fewer and fewer characters in its name.

    Removing characters from an e-mail address would yield a different address, so it is omitted as
    a whole.
    """
    return [identity, *(_keep_identity(identity, is_taken) for is_taken in _ALPHABETS)]


def _keep_identity(identity: Identity, is_taken: Callable[[str], bool]) -> Identity:
    def keep_whole(text: str) -> str:
        return text if all(map(is_taken, text)) else ""

    email = keep_whole(identity.email)
    return replace(
        identity,
        name=_keep_text(identity.name, is_taken),
        email=email,
        email_verified=bool(email) and identity.email_verified,
        picture=keep_whole(identity.picture),
        hosted_domain=keep_whole(identity.hosted_domain),
    )


def _keep_text(text: str, is_taken: Callable[[str], bool]) -> str:
    return "".join(filter(is_taken, text)).strip()


_ALPHABETS: tuple[Callable[[str], bool], ...] = (
    lambda character: ord(character) < 0x10000,  # utf8mb3
    lambda character: ord(character) < 0x100,  # latin1
    str.isascii,
)

"""Error messages for text that is not an encryption key."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from django_google_link.encryption.keyring import key_ids, make_key
from django_google_link.exceptions import SettingsError

KEY = make_key()
HEX = "0123456789abcdef" * 4


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'"{KEY}"', "is in quotes."),
        (f"'{KEY}'\n", "is in quotes."),
        (f"b'{KEY}'", "is in quotes."),
        (HEX, "is 64 hexadecimal digits."),
        (HEX.upper(), "is 64 hexadecimal digits."),
        (f"{KEY}  # of 2026", "has a comment."),
        (f"# {KEY}", "has a comment."),
        (f"GOOGLE_LINK_KEY={KEY}", "begins with a name."),
        (f"KEY = {KEY}", "begins with a name."),
        (f"{KEY}\n{KEY}", "contains spaces or commas."),
        (f"{KEY},{KEY}", "contains spaces or commas."),
        (KEY.encode("utf-16").decode("latin-1"), "is in UTF-16."),
        (KEY.encode("utf-16-le").decode("ascii"), "is in UTF-16."),
        (KEY[:-1], "has 43 characters."),
        (KEY[:20], "has 20 characters."),
        ("é" * 44, "is not url-safe base64."),
        (f"!{KEY[1:]}", "is not url-safe base64."),
    ],
    ids=lambda value: value if value.startswith(("is ", "has ", "begins", "contains")) else "",
)
def test_message_says_what_it_is(settings: Settings, text: str, said: str) -> None:
    """The message says which key and what to do, but contains none of the key."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": [KEY, text]}

    with pytest.raises(SettingsError) as caught:
        key_ids()

    message = str(caught.value)
    assert f"Encryption key 2 {said}" in message
    assert KEY[:8] not in message
    assert HEX[:8] not in message.lower()


@pytest.mark.matrix
@pytest.mark.parametrize(
    "around", ["{}\r\n", "\ufeff{}", "\u00a0{} ", "\u200b{}\t", "{}"], ids=ascii
)
def test_what_stands_around_a_key_does_no_harm(settings: Settings, around: str) -> None:
    """Surrounding whitespace is ignored."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": [KEY]}
    [expected] = key_ids()

    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": [around.format(KEY)]}

    assert key_ids() == (expected,)

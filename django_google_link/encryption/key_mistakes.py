"""What is wrong with text that is no encryption key, said without repeating any of it."""

from __future__ import annotations

import re

from django.views.decorators.debug import sensitive_variables

_CHARACTERS = 44
_MISTAKES = (
    (
        # What PowerShell's ">" writes, in whatever encoding it is read.
        "[\0\ufffe\ufffd]|^\u00ff\u00fe",
        "is in UTF-16",
        "Write the file again as UTF-8.",
    ),
    (r"""^b?["'].*["']$""", "is in quotes", "Leave the quotes out."),
    # A key itself has 43 characters before its "=".
    (r"^[A-Za-z_]\w{0,41}\s*=\s*\S", "begins with a name", "Leave out all up to the first =."),
    (r"\s#|^#", "has a comment", "Keep the key alone."),
    (r"[\s,;]", "is several words", "Make each key an item of its own."),
    (
        r"^[0-9A-Fa-f]{64}$",
        "is 64 hexadecimal digits",
        'Write it in url-safe base64: python -c "import base64; '
        'print(base64.urlsafe_b64encode(bytes.fromhex(input())).decode())".',
    ),
)


@sensitive_variables()
def describe_unusable_key(text: str) -> tuple[str, str]:
    """Return what a key is, in words that follow "Encryption key 1", and what to do about it.

    Args:
        text: with nothing around it.
    """
    for pattern, what, advice in _MISTAKES:
        if re.search(pattern, text):
            return what, advice
    advice = f"Copy it whole: {_CHARACTERS} characters of url-safe base64, which are 32 bytes."
    if len(text) == _CHARACTERS:
        return "is not url-safe base64", advice
    return f"has {len(text)} characters", advice

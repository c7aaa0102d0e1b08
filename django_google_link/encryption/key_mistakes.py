"""Diagnosing text that is not an encryption key, without repeating any of it."""

from __future__ import annotations

import re

from django.views.decorators.debug import sensitive_variables

_CHARACTERS = 44
_MISTAKES = (
    (
        # Written by PowerShell's ">", decoded in any encoding.
        "[\0\ufffe\ufffd]|^\u00ff\u00fe",
        "is in UTF-16",
        "Write the file again as UTF-8.",
    ),
    (r"""^b?["'].*["']$""", "is in quotes", "Remove the quotes."),
    # A key itself has 43 characters before its "=".
    (r"^[A-Za-z_]\w{0,41}\s*=\s*\S", "begins with a name", "Remove everything up to the first =."),
    (r"\s#|^#", "has a comment", "Remove the comment."),
    (r"[\s,;]", "contains spaces or commas", "Make each key a separate list item."),
    (
        r"^[0-9A-Fa-f]{64}$",
        "is 64 hexadecimal digits",
        'Convert it to url-safe base64: python -c "import base64; '
        'print(base64.urlsafe_b64encode(bytes.fromhex(input())).decode())".',
    ),
)


@sensitive_variables()
def describe_unusable_key(text: str) -> tuple[str, str]:
    """Return what is wrong with a key, to follow "Encryption key 1", and what to do about it.

    Args:
        text: the key, without surrounding whitespace.
    """
    for pattern, what, advice in _MISTAKES:
        if re.search(pattern, text):
            return what, advice
    advice = f"Copy all of it: {_CHARACTERS} characters of url-safe base64, which encode 32 bytes."
    if len(text) == _CHARACTERS:
        return "is not url-safe base64", advice
    return f"has {len(text)} characters", advice

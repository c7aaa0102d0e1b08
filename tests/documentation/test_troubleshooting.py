"""The page for those who search for the words on the screen quotes the words of the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import django_google_link
from django_google_link import exceptions
from tests.documentation.pages import names_in, tables, text_of

PACKAGE = Path(django_google_link.__file__).parent
#: Where the texts of error pages are written.
WRITERS = ("views/pages.py", "web/failures.py")


def shown_texts() -> set[str]:
    """Return the translatable texts of error pages, with an ellipsis for each value."""
    found = set()
    for writer in WRITERS:
        for node in ast.walk(ast.parse((PACKAGE / writer).read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id="_"), args=[ast.Constant(value=str(text))]):
                    found.add(re.sub(r"{\w+}", "…", text))
    return found


def test_error_pages_are_quoted() -> None:
    """Each title and each text, and no others."""
    [_, _, pages, _] = tables(text_of("howto/troubleshooting"))

    assert {name for title, text, _ in pages for name in names_in(title + text)} == shown_texts()


def test_messages_of_errors_are_quoted() -> None:
    """As the class says that raises them."""
    [_, _, _, messages] = tables(text_of("howto/troubleshooting"))

    said = {names_in(error)[0]: names_in(message)[0] for message, error, _ in messages}
    assert said == {
        name: error.default_message
        for name, error in vars(exceptions).items()
        if isinstance(error, type)
        and issubclass(error, exceptions.ConsentRequiredError)
        and error is not exceptions.ConsentRequiredError
    }

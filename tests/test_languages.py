"""Every language says all of it, and says it with the same blanks."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from babel.messages import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from django.test import Client
from django.utils import translation
from django.utils.translation.template import templatize
from pytest_django import Settings

import django_google_link

PACKAGE = Path(django_google_link.__file__).parent
LOCALES = PACKAGE / "locale"
LANGUAGES = ("de", "es", "fr", "ja", "ru")
TEMPLATES = sorted((PACKAGE / "templates").rglob("*.html"))
LAZY = {f"{name}_lazy": spec for name, spec in DEFAULT_KEYWORDS.items()}


def sources() -> dict[str, str]:
    """Return the Python that says something to people, templates turned into it."""
    texts = {}
    for path in PACKAGE.rglob("*"):
        if "testing" in path.parts or path.suffix not in {".py", ".html"}:
            continue
        text = path.read_text(encoding="utf-8")
        texts[str(path)] = text if path.suffix == ".py" else templatize(text)
    return texts


def said() -> set[str | tuple[str, ...]]:
    """Return all marked strings, those with a plural as a pair."""
    keywords = {**DEFAULT_KEYWORDS, **LAZY}
    return {
        message
        for text in sources().values()
        for _, message, _, _ in extract("python", io.BytesIO(text.encode()), keywords)
    }


def catalog(language: str) -> Catalog:
    """Return the translations into a language."""
    with (LOCALES / language / "LC_MESSAGES" / "django.po").open("rb") as file:
        return read_po(file, locale=language)


def forms(text: Any) -> list[str]:
    """Return a string, or the forms of one with a plural."""
    return [text] if isinstance(text, str) else list(text)


def strings(messages: Catalog) -> dict[str, list[str]]:
    """Return each message's translations, by its singular."""
    return {forms(message.id)[0]: forms(message.string) for message in messages if message.id}


def test_languages_are_those_that_we_promise() -> None:
    """None is forgotten, and no other is half done."""
    assert {path.name for path in LOCALES.iterdir()} == set(LANGUAGES)


@pytest.mark.matrix
@pytest.mark.parametrize("language", LANGUAGES)
def test_catalog_has_what_is_said(language: str) -> None:
    """All of it, and nothing that is no longer said."""
    assert {message.id for message in catalog(language) if message.id} == said()


@pytest.mark.parametrize("language", LANGUAGES)
def test_catalog_is_translated(language: str) -> None:
    """Each form of each message, in so many words and with the same blanks to fill in."""
    messages = catalog(language)
    for message in messages:
        texts = forms(message.string)
        assert all(texts), message.id
        assert not message.fuzzy, message.id
        if message.pluralizable:
            assert len(texts) == messages.num_plurals, message.id
    assert [str(error) for _, errors in messages.check() for error in errors] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_catalog_is_compiled(language: str) -> None:
    """What Django reads is what translators write."""
    with (LOCALES / language / "LC_MESSAGES" / "django.mo").open("rb") as file:
        compiled = read_mo(file)

    assert strings(compiled) == strings(catalog(language))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_template_says_nothing_unmarked(template: Path) -> None:
    """Outside of tags there is no word."""
    text = template.read_text(encoding="utf-8")
    text = re.sub(r"{% blocktrans.*?{% endblocktrans\w* %}", "", text, flags=re.DOTALL)
    text = re.sub(r"{%.*?%}|{{.*?}}|<[^>]+>", "", text, flags=re.DOTALL)

    assert not re.search(r"\w", text)


@pytest.mark.matrix
@pytest.mark.django_db
@pytest.mark.parametrize("language", LANGUAGES)
def test_page_speaks_the_visitors_language(
    browser: Client, settings: Settings, language: str
) -> None:
    """And its ``lang`` says which one it is."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    with translation.override(language):
        title = translation.gettext("Linked Google accounts")

    with translation.override("en"):  # What the middleware activates stays active after it.
        page = browser.get("/google/", headers={"accept-language": language}).content.decode()

    assert f'<html lang="{language}">' in page
    assert title in page
    assert title != "Linked Google accounts"

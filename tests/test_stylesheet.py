"""The stylesheet that goes into other people's pages: it is for our box, and for nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any

import pytest
import tinycss2

import django_google_link

STATIC = Path(django_google_link.__file__).parent / "static" / "django_google_link"

#: Nothing in them has a name that a page could use as well, as a font or an animation has.
CONDITIONS = {"media", "supports"}
#: Stripped: the first is a blank.
COMBINATORS = {"", ">", "+", "~"}


def read_rules(rules: Iterable[Any]) -> Iterator[Any]:
    """Return the rules, those under a condition as well."""
    for rule in rules:
        if rule.type == "at-rule" and rule.lower_at_keyword in CONDITIONS:
            yield from read_rules(
                tinycss2.parse_blocks_contents(
                    rule.content, skip_whitespace=True, skip_comments=True
                )
            )
        else:
            yield rule


def list_selectors(prelude: list[Any]) -> list[list[Any]]:
    """Return the selectors of a rule."""
    selectors: list[list[Any]] = [[]]
    for token in prelude:
        if token == ",":
            selectors.append([])
        else:
            selectors[-1].append(token)
    return selectors


def is_inside(selector: list[Any], name: str) -> bool:
    """Return whether what a selector finds is the element with this class, or inside of it."""
    texts = [token.serialize().strip() for token in selector]
    for position, text in enumerate(texts):
        if text == name and texts[position - 1 : position] == ["."]:
            rest = texts[position + 1 :]
            combinators = list(dropwhile(lambda text: text not in COMBINATORS, rest))
            # Beside it is not inside.
            return not {"+", "~"} & set(takewhile(COMBINATORS.__contains__, combinators))
    return False


def find_strays(css: str, name: str) -> list[str]:
    """Return what a stylesheet says of anything outside of the element with this class."""
    strays = []
    for rule in read_rules(
        tinycss2.parse_stylesheet(css, skip_whitespace=True, skip_comments=True)
    ):
        if rule.type != "qualified-rule":
            strays.append(rule.serialize())
            continue
        strays += [
            tinycss2.serialize(selector).strip()
            for selector in list_selectors(rule.prelude)
            if not is_inside(selector, name)
        ]
    return strays


@pytest.mark.parametrize(
    ("file", "name"),
    [("google_link.css", "google-link"), ("google_link_page.css", "google-link-page")],
)
def test_stylesheet_is_for_its_element_alone(file: str, name: str) -> None:
    """No selector of it finds anything else, and nothing is named for the whole page."""
    assert find_strays((STATIC / file).read_text(encoding="utf-8"), name) == []


@pytest.mark.parametrize(
    "css",
    [
        ":root { --google-link-text: black }",
        "html { color-scheme: light dark }",
        "body, .google-link { margin: 0 }",
        ".google-link + p { color: red }",
        ".google-link ~ .card { color: red }",
        ".google-link.dark+p a { color: red }",
        ".google-linked h1 { color: red }",
        "google-link h1 { color: red }",
        "@media (prefers-color-scheme: dark) { :root { color: white } }",
        "@supports (color: red) { @media print { a { color: red } } }",
        "@font-face { font-family: x }",
        "@import 'other.css';",
        "@property --x { syntax: '*'; inherits: true }",
        "@keyframes turn { to { rotate: 1turn } }",
    ],
)
def test_stray_rule_is_found(css: str) -> None:
    """What a page would notice of a stylesheet."""
    assert find_strays(css, "google-link")

"""Parses a page with a single form."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass(kw_only=True)
class Page:
    """The content of a page. Disabled inputs are omitted, since browsers do not send them.

    Attributes:
        action: the ``action`` of the form; empty without a form.
        hidden: names and values of hidden inputs.
        radios: values of the radio buttons.
        selected_radio: the value of the selected one, if any.
        checkboxes: values of the ticked checkboxes.
        text: the visible text, of the main element if there is one.
        relayed: the URL that a popup passes to the page that opened it.
    """

    action: str = ""
    hidden: list[tuple[str, str]] = field(default_factory=list)
    radios: list[str] = field(default_factory=list)
    selected_radio: str | None = None
    checkboxes: list[str] = field(default_factory=list)
    text: str = ""
    relayed: str = ""


def parse_page(html: str) -> Page:
    """Return the content of a page."""
    parser = _PageParser()
    parser.feed(html)
    parser.close()
    parser.page.text = " ".join(" ".join(parser.words).split())
    return parser.page


class _PageParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "main":
            self.words.clear()
        elif tag == "form":
            self.page.action = values.get("action", "")
        elif tag == "meta" and values.get("name") == "google-answer":
            self.page.relayed = values.get("content", "")
        elif tag == "input" and "disabled" not in values:
            self._read_input(values)

    def _read_input(self, values: dict[str, str]) -> None:
        kind, value = values.get("type"), values.get("value", "")
        if kind == "hidden":
            self.page.hidden.append((values.get("name", ""), value))
        elif kind == "radio":
            self.page.radios.append(value)
            if "checked" in values:
                self.page.selected_radio = value
        elif kind == "checkbox" and "checked" in values:
            self.page.checkboxes.append(value)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

"""A user at somebody else's provider: logs in, consents or refuses, as its pages ask for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

import requests

_MANY_PAGES = 12


@dataclass
class Form:
    """A form of a page: where it goes, what it holds, and its buttons."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class _FormParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "a":
            self.links.append(values.get("href", ""))
        elif tag == "form":
            self.forms.append(Form(values.get("action", "")))
        elif tag in {"input", "button"} and self.forms:
            name, value = values.get("name", ""), values.get("value", "")
            kind = values.get("type", "text" if tag == "input" else "submit")
            if kind == "submit":
                self.forms[-1].buttons.append((name, value))
            elif name and (kind not in {"checkbox", "radio"} or "checked" in values):
                self.forms[-1].fields[name] = value


class ProviderBrowser:
    """A browser of one user at one provider.

    Args:
        provider: the address of the provider; whatever leads elsewhere leads back to the site.
        answers: what this user types, by the name of the field.
        user: whom a provider without pages is told by a header, as it is told of a refusal.
    """

    def __init__(self, provider: str, answers: dict[str, str], *, user: str) -> None:
        self._provider = provider
        self._answers = answers
        self._session = requests.Session()
        self._session.headers["X-User"] = user

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def consent(self, url: str, *, allow: tuple[str, str], deny: str = "") -> str:
        """Go through the provider's pages, and return the address that leads back.

        Args:
            url: of the authorization request.
            allow: the name and value of the button that gives consent, where there are several.
            deny: the value of the button, or a part of the link, that refuses; empty to consent.
        """
        headers = {"X-Answer": deny} if deny else {}
        response = self._session.get(url, headers=headers, allow_redirects=False)
        for _ in range(_MANY_PAGES):
            if response.is_redirect:
                url = urljoin(response.url, response.headers["Location"])
                if not url.startswith(f"{self._provider}/"):
                    return url
                response = self._session.get(url, allow_redirects=False)
                continue
            assert response.status_code < 500, response.text
            response = self._answer(response, allow=allow, deny=deny)
        raise AssertionError(f"It goes on and on: {response.url} {response.text[:2000]}")

    def _answer(
        self, response: requests.Response, *, allow: tuple[str, str], deny: str
    ) -> requests.Response:
        parser = _FormParser()
        parser.feed(response.text)
        [form] = [form for form in parser.forms if form.buttons] or [None]
        assert form, f"No form at {response.url} ({response.status_code}): {response.text[:2000]}"
        asks = {name for name in form.fields if name in self._answers}
        if deny and not asks:
            [link] = [link for link in parser.links if deny in link] or [""]
            if link:
                return self._session.get(urljoin(response.url, link), allow_redirects=False)
        data = {**form.fields, **{name: self._answers[name] for name in asks}}
        if not asks:
            data |= dict(self._choose_button(form, allow=allow, deny=deny))
        elif len(form.buttons) == 1:
            data |= {name: value for name, value in form.buttons if name}
        return self._session.post(
            urljoin(response.url, form.action), data=data, allow_redirects=False
        )

    def _choose_button(
        self, form: Form, *, allow: tuple[str, str], deny: str
    ) -> list[tuple[str, str]]:
        wanted = (allow[0], deny) if deny else allow
        return [(name, value) for name, value in form.buttons if name and (name, value) == wanted]

    def visit(self, path: str) -> requests.Response:
        """Look at another page of the provider, logged in as before."""
        return self._session.get(urljoin(f"{self._provider}/", path))

    def submit(self, path: str) -> requests.Response:
        """Send the one form of a page."""
        page = self.visit(path)
        parser = _FormParser()
        parser.feed(page.text)
        [form] = [form for form in parser.forms if form.buttons]
        return self._session.post(urljoin(page.url, form.action), data=form.fields)

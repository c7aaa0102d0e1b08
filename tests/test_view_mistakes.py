"""Mistakes in decorators, mixins and permissions: told at import or by a check, with what to do."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import path, reverse_lazy
from django.utils.decorators import method_decorator
from django.views import View
from django.views.generic import ListView, TemplateView
from pytest_django import Settings
from rest_framework.views import APIView

from django_google_link.checks.views import check_views
from django_google_link.contrib.rest_framework import GoogleRequired
from django_google_link.decorators import google_aware, google_required
from django_google_link.exceptions import MissingScopesError
from django_google_link.mixins import GoogleAwareMixin, GoogleRequiredMixin
from django_google_link.services import access_token
from django_google_link.testing.accounts import make_google_account
from tests.support.constants import CALENDAR, DRIVE

AUTH = "https://www.googleapis.com/auth/"


def refused(write: Callable[[], Any]) -> str:
    """Return what is said to somebody who writes this."""
    with pytest.raises((TypeError, ValueError)) as caught:
        write()
    return str(caught.value)


def make_view(*bases: type, **attributes: Any) -> type:
    """Define a class-based view."""
    return type("Agenda", bases or (GoogleRequiredMixin, View), attributes)


SCOPE_MISTAKES = [
    ("drive", f"Did you mean {AUTH}drive?"),
    ("calender.readonly", f"Did you mean {AUTH}calendar.readonly?"),
    ("drive,calendar", f'Use a list: ["{AUTH}drive", "{AUTH}calendar"].'),
    (f"{CALENDAR},{DRIVE}", f'["{CALENDAR}", "{DRIVE}"]'),
    ([CALENDAR + DRIVE], "is not one of Google's scopes."),
    ([f"{AUTH}Calendar.Readonly"], f"Did you mean {AUTH}calendar.readonly?"),
    ("HTTPS://WWW.GOOGLEAPIS.COM/AUTH/DRIVE", f"Did you mean {AUTH}drive?"),
    (["http://www.googleapis.com/auth/drive"], f"Did you mean {AUTH}drive?"),
    ([f"{AUTH} drive"], "is not one of Google's scopes."),
    ([f"{AUTH}drive/"], f"Did you mean {AUTH}drive?"),
    (f'["{DRIVE}"]', "but JSON. Read it with json.loads()."),
    (["“drive”"], "it has an invalid character."),
    (["open_id"], "Did you mean openid?"),
    (["gmail"], "Did you mean https://mail.google.com/?"),
    (["sheets"], f"Did you mean {AUTH}spreadsheets?"),
    (["zzz"], "Write each scope in full, as a separate item, such as"),
    ({DRIVE: True}, "Scopes must be a list of strings"),
    (b"drive", "Scopes must be a list of strings"),
    (7, "Scopes must be a list of strings, not 7."),
    ([[DRIVE]], "Scopes must be strings"),
    ([None], "Scopes must be strings"),
]


@pytest.mark.matrix
@pytest.mark.parametrize("decorator", [google_required, google_aware])
@pytest.mark.parametrize("option", ["scopes", "optional_scopes"])
@pytest.mark.parametrize(("scopes", "said"), SCOPE_MISTAKES)
def test_scopes_of_a_decorator(decorator: Any, option: str, scopes: Any, said: str) -> None:
    """They are refused where they are written."""
    text = refused(lambda: decorator(**{option: scopes}))

    assert text.startswith(f"{decorator.__name__}(): {option} ")
    assert said in text


@pytest.mark.matrix
@pytest.mark.parametrize("name", ["google_scopes", "google_optional_scopes"])
@pytest.mark.parametrize(("scopes", "said"), SCOPE_MISTAKES)
def test_scopes_of_a_class(name: str, scopes: Any, said: str) -> None:
    """Likewise, when the class is defined."""
    text = refused(lambda: make_view(**{name: scopes}))

    assert text.startswith(f"Agenda: {name} ")
    assert said in text


@pytest.mark.matrix
@pytest.mark.parametrize(
    "scopes",
    [
        None,
        [],
        "",
        f" {CALENDAR}\n{DRIVE} ",
        {CALENDAR},
        (scope for scope in (CALENDAR, DRIVE)),
        ["openid", "email", "profile"],
        [f"{AUTH}userinfo.email", "https://www.google.com/m8/feeds", f"{AUTH}classroom.courses"],
        [f"{AUTH}calender"],
    ],
)
def test_scopes_that_may_be_meant(scopes: Any) -> None:
    """Google has far more than are known, and a guess stops no site from starting."""
    assert google_required(scopes=scopes)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("change", "scopes", "said"),
    [
        ({"TOKEN_ENDPOINT": "https://id.example/token"}, ["drive"], ""),
        ({"CLIENT_ID": ""}, ["drive"], ""),
        ({"TOKEN_ENDPOINT": "https://id.example/token"}, ["read,write"], '["read", "write"]'),
    ],
)
def test_scopes_of_another_provider(
    settings: Settings, change: dict[str, str], scopes: list[str], said: str
) -> None:
    """It may have any, but for those that none can have; so it may be where nothing is known."""
    client = {
        "CLIENT_ID": "x",
        "CLIENT_SECRET": "y",
        "AUTHORIZATION_ENDPOINT": "https://id.example/auth",
        **change,
    }
    clients = {**settings.GOOGLE_LINK["CLIENTS"], "other": client}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": clients}

    if said:
        assert said in refused(lambda: google_required(scopes=scopes, client="other"))
    else:
        assert google_required(scopes=scopes, client="other")
    # A resolver may choose either.
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENT_RESOLVER": "os.getcwd"}
    assert google_required(scopes=["drive"])


@pytest.mark.matrix
@pytest.mark.parametrize("decorator", [google_required, google_aware])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scope": [DRIVE]}, "got an unexpected keyword argument 'scope'. Did you mean 'scopes'?"),
        ({"google_scopes": [DRIVE]}, "Did you mean 'scopes'?"),
        ({"optional": [DRIVE]}, "Did you mean 'optional_scopes'?"),
        ({"return_uri": "/"}, "Did you mean 'return_url'?"),
        ({"permission": 1}, "It takes scopes, optional_scopes, client, account, return_url."),
        ({"client": ["default"]}, "client is ['default']. Use a name in CLIENTS: \"default\"."),
        ({"account": "anna"}, "account is 'anna'. Use a function that takes the request"),
        ({"account": lambda: None}, "Use a function that takes the request"),
        ({"return_url": "agenda"}, "reverse_lazy('agenda') for the name of a URL."),
        ({"return_url": "myapp:agenda"}, "reverse_lazy('myapp:agenda')"),
        ({"return_url": 7}, 'Use a path on this site: "/agenda/".'),
    ],
)
def test_options_of_a_decorator(decorator: Any, options: dict[str, Any], said: str) -> None:
    """A name or a value that cannot be meant."""
    text = refused(lambda: decorator(**options))

    assert text.startswith(f"{decorator.__name__}()")
    assert said in text


@pytest.mark.matrix
@pytest.mark.parametrize(
    "options",
    [
        {"account": print},
        {"account": type("Chooser", (), {"__call__": lambda self, request: None})()},
        {"account": min},
        {"return_url": reverse_lazy("no-such-name")},
        {"return_url": "https://www.example.com/agenda/"},
        {"client": "not-there-yet"},
    ],
)
def test_options_that_may_be_meant(options: dict[str, Any]) -> None:
    """What cannot be judged yet is not refused."""
    assert google_required(**options)


@pytest.mark.matrix
@pytest.mark.parametrize("decorator", [google_required, google_aware])
def test_what_a_decorator_decorates(decorator: Any) -> None:
    """A function of a request, and no class, no method, and nothing else."""

    def get(self: Any, request: Any) -> None: ...

    text = refused(lambda: decorator(get))
    assert "get() is a method: use @method_decorator(" in text
    assert "django_google_link.contrib.rest_framework" in text
    mixin = "GoogleAwareMixin" if decorator is google_aware else "GoogleRequiredMixin"
    assert f"class View({mixin}, …)" in refused(lambda: decorator(View))
    assert "decorates views, not 'agenda'." in refused(lambda: decorator()("agenda"))
    assert method_decorator(decorator)(get)


def test_method_that_calls_itself_otherwise() -> None:
    """What does not look like a method is found at its first request."""

    class Page:
        @google_required
        def get(page, request: Any) -> None: ...  # noqa: N805

    assert "Decorate a method with method_decorator" in refused(
        lambda: Page().get(RequestFactory().get("/"))
    )


def test_asynchronous_view_that_is_hidden(user: Any) -> None:
    """A decorator below ours that is not asynchronous would hand us what nobody awaits."""

    async def agenda(request: Any) -> HttpResponse:
        raise NotImplementedError

    @google_aware
    @wraps(agenda)
    def hiding(request: Any) -> Any:
        return agenda(request)

    request = RequestFactory().get("/")
    request.user = user
    text = refused(lambda: hiding(request))

    assert "agenda() returned a coroutine" in text
    assert "Put the decorator of django_google_link below that one" in text


@pytest.mark.matrix
@pytest.mark.parametrize("mixin", [GoogleRequiredMixin, GoogleAwareMixin])
@pytest.mark.parametrize(
    ("bases", "written"),
    [
        ((View,), "class Agenda({}, View)"),
        ((TemplateView,), "class Agenda({}, TemplateView)"),
        ((LoginRequiredMixin, ListView), "class Agenda(LoginRequiredMixin, {}, ListView)"),
        ((APIView,), "class Agenda({}, APIView)"),
    ],
)
def test_mixin_behind_a_view(mixin: type, bases: tuple[type, ...], written: str) -> None:
    """It would never be called, and everybody would see the page."""
    text = refused(lambda: make_view(*bases, mixin))

    assert f"Write {written.format(mixin.__name__)}." in text
    assert make_view(*[base for base in bases if not issubclass(base, View)], mixin, View)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("google_scope", [DRIVE], "google_scopes"),
        ("googel_scopes", [DRIVE], "google_scopes"),
        ("GOOGLE_SCOPES", [DRIVE], "google_scopes"),
        ("google_optional_scope", [DRIVE], "google_optional_scopes"),
        ("google_clients", "default", "google_client"),
        ("google_return_uri", "/", "google_return_url"),
        ("scopes", [DRIVE], "google_scopes"),
        ("scope", DRIVE, "google_scopes"),
        ("optional_scopes", [DRIVE], "google_optional_scopes"),
        ("get_google_acount", lambda self, request: None, "get_google_account"),
    ],
)
def test_misspelt_attribute(name: str, value: Any, meant: str) -> None:
    """It would be ignored."""
    assert refused(lambda: make_view(**{name: value})) == (
        f"Agenda.{name} is not read. Did you mean {meant}?"
    )


@pytest.mark.matrix
@pytest.mark.parametrize(
    "attributes",
    [
        {"google_client_id": "x", "google_account": None, "google_maps_key": "x"},
        {"get_google_accounts": lambda self: None, "google_scope": lambda self, request: None},
        {"SCOPES": [DRIVE], "google_scopes": [DRIVE]},
        {"scopes": ["day", "week"], "scope": "mine"},
        {"google_scopes": property(lambda self: ["drive"])},
        {"get_google_account": staticmethod(lambda request: None)},
        {"google_return_url": reverse_lazy("no-such-name"), "google_client": "not-there-yet"},
    ],
)
def test_attributes_that_may_be_meant(attributes: dict[str, Any]) -> None:
    """A project's own are left alone, and what is decided at each request."""
    assert make_view(**attributes)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"google_client": ["default"]}, "Agenda: google_client is ['default']."),
        ({"google_return_url": "agenda"}, "Agenda: google_return_url is 'agenda'"),
        ({"get_google_account": "anna"}, "Agenda: write def get_google_account(self, request)."),
        ({"get_google_account": lambda self: None}, "write def get_google_account(self, request)."),
    ],
)
def test_options_of_a_class(attributes: dict[str, Any], said: str) -> None:
    """They are named as they are written."""
    assert said in refused(lambda: make_view(**attributes))


@pytest.mark.django_db
@pytest.mark.parametrize("owner", ["user", "account"])
def test_scopes_of_a_task(user: Any, owner: str) -> None:
    """A user would be asked for what nobody can grant, again and again."""
    account = make_google_account(user, scopes=[DRIVE])
    who = user if owner == "user" else account

    text = refused(lambda: access_token(who, scopes=[DRIVE, "calendar.readonly"]))

    assert text.endswith(f"Did you mean {AUTH}calendar.readonly?")
    with pytest.raises(MissingScopesError):
        access_token(who, scopes=[DRIVE, CALENDAR])


# What cannot be refused when it is imported


@google_required(scopes=[f"{AUTH}calender.readonly", CALENDAR])
def misspelt(request: Any) -> HttpResponse:
    """A guess: Google may have such a scope."""
    raise NotImplementedError


@google_required(client="ofice")
def misnamed(request: Any) -> HttpResponse:
    """A client that is in no settings."""
    raise NotImplementedError


class Agenda(APIView):
    """A view whose permission finds no scopes in it."""

    permission_classes = (GoogleRequired,)
    google_scope = (CALENDAR,)


class Well(APIView):
    """A view with nothing wrong."""

    permission_classes = (GoogleRequired,)
    google_scopes = (CALENDAR,)


urlpatterns = [
    path("misspelt/", misspelt),
    path("misnamed/", misnamed),
    path("api/", Agenda.as_view()),
    path("well/", Well.as_view()),
]


def found() -> dict[str, str]:
    """Return what the check says of the views here."""
    return {(one.id or "")[-4:]: f"{one.msg} {one.hint}" for one in check_views()}


def test_views_of_the_urlconf(settings: Settings) -> None:
    """A check tells what is likely wrong, and what depends on the settings."""
    settings.ROOT_URLCONF = __name__

    messages = found()

    assert set(messages) == {"W004", "E062", "E063"}
    assert f"Did you mean {AUTH}calendar.readonly?" in messages["W004"]
    assert "misspelt" in messages["W004"]
    assert messages["E062"] == "Agenda.google_scope is not read. Did you mean google_scopes?"
    said = "names the client 'ofice', which is not in CLIENTS. Known clients: default."
    assert said in messages["E063"]


def test_views_while_the_settings_are_broken(settings: Settings) -> None:
    """That is told by another check."""
    settings.ROOT_URLCONF = __name__
    settings.GOOGLE_LINK = {}

    assert set(found()) == {"E062"}


def test_scopes_where_a_resolver_chooses(settings: Settings) -> None:
    """Of which provider they are is not known before a request."""
    settings.ROOT_URLCONF = __name__
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENT_RESOLVER": "os.getcwd"}

    assert set(found()) == {"E062", "E063"}


def test_scopes_that_the_client_has(settings: Settings) -> None:
    """They are told once, of the client."""
    settings.ROOT_URLCONF = __name__
    client = {**settings.GOOGLE_LINK["CLIENTS"]["default"], "SCOPES": [f"{AUTH}calender.readonly"]}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {"default": client}}

    assert set(found()) == {"E062", "E063"}


def test_worker_without_urls(settings: Settings) -> None:
    """It has no views."""
    settings.ROOT_URLCONF = None

    assert found() == {}

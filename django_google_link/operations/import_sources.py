"""Where refresh tokens lie in plain text: the tables and files of other packages.

Their models are looked up when they are needed: none of these packages has to be installed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist
from django.db import router
from django.db.models import BinaryField, ExpressionWrapper, F, QuerySet
from django.views.decorators.debug import sensitive_variables

from ..accounts.database import in_chunks
from ..accounts.transactions import run_in_transaction
from ..conf.providers import DEFAULT_ENDPOINTS
from ..secret import Secret
from .token_files import MAX_BYTES, parse_credentials

_CHUNK = 500
#: What django-allauth and social-auth call Google.
_GOOGLES_PROVIDERS = frozenset(
    {"google", "google-oauth", "google-oauth2", "google-openidconnect", "google-plus"}
)
_ASK_FOR_LASTING = (
    "it holds no refresh token: the program that wrote it has to ask with access_type=offline and "
    "prompt=consent"
)
_PLAIN_TEXT_KEYS = ("access_token", "refresh_token", "id_token")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What was found in one row or file, and may be imported."""

    #: Where: no token, no address.
    name: str
    user_id: Any
    refresh_token: Secret | None = None
    #: To which client it was given, and whose it is, where the place says so.
    client_id: str = ""
    #: Where it can be used; empty, if the source does not say.
    token_endpoint: str = ""
    sub: str = ""
    email: str = ""
    #: Why it cannot be read.
    problem: str = ""
    #: What to do where it holds no refresh token; nothing, where that is to be expected.
    advice: str = ""
    #: Removes the plain text, unless it has changed since.
    wipe: Callable[[], object] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Source:
    """All that is found in one place."""

    total: int
    candidates: Iterator[Candidate]


def read_allauth(*, provider: str = "google") -> Source:
    """Read the ``SocialToken`` rows of django-allauth.

    Raises:
        LookupError: when ``allauth.socialaccount`` is not in ``INSTALLED_APPS``.
    """
    rows = _query_rows(_get_model("socialaccount.SocialToken"))
    rows = rows.filter(account__provider=provider).select_related("account", "app")

    @sensitive_variables()
    def read(row: Any) -> Candidate:
        def wipe() -> None:
            for current in rows.select_related(None).select_for_update().filter(pk=row.pk):
                # Compared here, since statements are logged with what they compare.
                if current.token_secret == row.token_secret:
                    current.token = current.token_secret = ""
                    current.save(using=rows.db, update_fields=["token", "token_secret"])

        return Candidate(
            name=f"SocialToken {row.pk}",
            user_id=row.account.user_id,
            refresh_token=_make_secret(row.token_secret),
            client_id=row.app.client_id if row.app else "",
            token_endpoint=_find_token_endpoint(provider),
            sub=row.account.uid,
            wipe=lambda: run_in_transaction(wipe, using=rows.db),
        )

    return Source(total=rows.count(), candidates=map(read, _iterate_rows(rows)))


def read_social_auth(*, provider: str = "google-oauth2") -> Source:
    """Read the ``UserSocialAuth`` rows of social-auth-app-django.

    Raises:
        LookupError: when ``social_django`` is not in ``INSTALLED_APPS``.
    """
    rows = _query_rows(_get_model("social_django.UserSocialAuth")).filter(provider=provider)

    @sensitive_variables()
    def read(row: Any) -> Candidate:
        extra_data, problem = _read_extra_data(row.extra_data)
        token = _get_text(extra_data, "refresh_token")

        def wipe() -> None:
            for current in rows.select_for_update().filter(pk=row.pk):
                stored, _ = _read_extra_data(current.extra_data)
                if _get_text(stored, "refresh_token") == token:
                    left = {key: stored[key] for key in stored if key not in _PLAIN_TEXT_KEYS}
                    is_text = isinstance(current.extra_data, str)
                    current.extra_data = json.dumps(left) if is_text else left
                    current.save(using=rows.db, update_fields=["extra_data"])

        # It is the address unless GOOGLE_OAUTH2_USE_UNIQUE_USER_ID was set.
        is_address = "@" in row.uid
        return Candidate(
            name=f"UserSocialAuth {row.pk}",
            user_id=row.user_id,
            refresh_token=_make_secret(token),
            token_endpoint=_find_token_endpoint(provider),
            sub="" if is_address else row.uid,
            email=row.uid if is_address else "",
            problem=problem,
            wipe=lambda: run_in_transaction(wipe, using=rows.db),
        )

    return Source(total=rows.count(), candidates=map(read, _iterate_rows(rows)))


def read_oauth2client(*, model: str, field: str, user_field: str | None = None) -> Source:
    """Read what oauth2client's ``CredentialsField`` has stored, whatever the field is by now.

    Args:
        model: ``"app_label.Model"``.
        field: that holds the credentials.
        user_field: the relation to the user, if there are several.

    Raises:
        LookupError: when there is no such model or field.
        ValueError: when the field may not be emptied, or when it is not plain which user's it is.
    """
    owner = _get_model(model)
    try:
        if not owner._meta.get_field(field).null:
            raise ValueError(f"{model}.{field} may not be NULL: give it null=True first.")
    except FieldDoesNotExist as error:
        raise LookupError(str(error)) from None
    user_field = _find_user_field(owner, user_field)
    # As it stands in the database: the field itself would unpickle it.
    stored = ExpressionWrapper(F(field), output_field=BinaryField())
    rows = _query_rows(owner).exclude(**{field: None}).annotate(google_link_stored=stored)
    rows = rows.values("pk", user_field, "google_link_stored")

    @sensitive_variables()
    def read(row: Any) -> Candidate:
        name = f"{owner.__name__} {row['pk']}"
        text = row["google_link_stored"]
        content, problem = parse_credentials(text)

        def wipe() -> None:
            for current in rows.select_for_update().filter(pk=row["pk"]):
                if current["google_link_stored"] == text:
                    _query_rows(owner).filter(pk=row["pk"]).update(**{field: None})

        return _make_candidate(
            name,
            row[user_field],
            content,
            problem=problem,
            wipe=lambda: run_in_transaction(wipe, using=rows.db),
        )

    return Source(total=rows.count(), candidates=map(read, _iterate_rows(rows)))


def read_files(paths: Iterable[Path], *, user_id: Any) -> Source:
    """Read the credentials in files: of google-auth, gcloud, oauth2client and the quickstarts.

    Args:
        paths: of the files.
        user_id: the primary key of the user whose they are.
    """

    @sensitive_variables()
    def read(path: Path) -> Candidate:
        text = b""
        try:
            text = _read_start(path)
            content, problem = parse_credentials(text, name=path.name)
        except OSError as error:
            content, problem = {}, error.strerror or "it cannot be read"

        def wipe() -> None:
            real = path.resolve()
            if _read_start(real) == text:
                real.unlink()

        candidate = _make_candidate(str(path), user_id, content, problem=problem, wipe=wipe)
        return replace(candidate, advice=_ASK_FOR_LASTING)

    every = list(paths)
    return Source(total=len(every), candidates=map(read, every))


def _read_start(path: Path) -> bytes:
    """Return the content of a file, or as much as shows that it is too large."""
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _get_model(label: str) -> Any:
    if label.count(".") != 1:
        raise LookupError(f"{label!r} is not of the form app_label.Model.")
    try:
        return apps.get_model(label)
    except LookupError as error:
        raise LookupError(f"{error} Its app has to be in INSTALLED_APPS.") from None


def _find_user_field(model: Any, name: str | None) -> str:
    """Return the relation to the user: the number of a row is not the number of a user."""
    users = [
        field.name
        for field in model._meta.concrete_fields
        if field.related_model is get_user_model()
    ]
    if name in users or (name is None and len(users) == 1):
        return name or users[0]
    known = ", ".join(users) or "none"
    raise ValueError(f"Name the relation to the user with --user-field; there is: {known}.")


def _query_rows(model: Any) -> QuerySet[Any]:
    rows: QuerySet[Any] = model._base_manager.using(router.db_for_write(model))
    return rows


def _iterate_rows(rows: QuerySet[Any]) -> Iterator[Any]:
    for chunk in in_chunks(rows, size=_CHUNK):
        yield from chunk


@sensitive_variables()
def _make_candidate(
    name: str,
    user_id: Any,
    content: Mapping[str, Any],
    *,
    problem: str,
    wipe: Callable[[], object],
) -> Candidate:
    claims = content.get("id_token")
    client_id = _get_text(content, "client_id")
    # gcloud's files do not name it: they are for Google alone. Those of Node, PHP and Go name
    # neither, and may be any provider's.
    usual = DEFAULT_ENDPOINTS["TOKEN_ENDPOINT"] if client_id else ""
    return Candidate(
        name=name,
        user_id=user_id,
        refresh_token=_make_secret(_get_text(content, "refresh_token")),
        client_id=client_id,
        token_endpoint=_get_text(content, "token_uri") or usual,
        sub=_get_text(claims, "sub"),
        email=_get_text(claims, "email"),
        problem=problem,
        wipe=wipe,
    )


@sensitive_variables()
def _read_extra_data(value: Any) -> tuple[Mapping[str, Any], str]:
    """Read ``extra_data``: a dict, or text as projects have it that began with a text column."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}, "its extra_data is text that is not JSON"
    if value is None or isinstance(value, Mapping):
        return value or {}, ""
    return {}, "its extra_data is no object"


def _find_token_endpoint(provider: str) -> str:
    """Return where the tokens of a provider of these packages are used; nothing, if unknown.

    A project may call one of its own by any name, ``google-workspace`` too.
    """
    return DEFAULT_ENDPOINTS["TOKEN_ENDPOINT"] if provider in _GOOGLES_PROVIDERS else ""


def _make_secret(text: str) -> Secret | None:
    return Secret(text) if text else None


def _get_text(mapping: Any, key: str) -> str:
    value = mapping.get(key) if isinstance(mapping, Mapping) else None
    return value if isinstance(value, str) else ""

"""Sources of refresh tokens in plain text: the tables and files of other packages.

Their models are looked up when needed: none of these packages has to be installed.
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
#: The names of Google's provider in django-allauth and social-auth.
_GOOGLES_PROVIDERS = frozenset(
    {"google", "google-oauth", "google-oauth2", "google-openidconnect", "google-plus"}
)
_ASK_FOR_LASTING = (
    "it contains no refresh token: the program that wrote it must request access_type=offline and "
    "prompt=consent"
)
_PLAIN_TEXT_KEYS = ("access_token", "refresh_token", "id_token")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What a row or file contains, and may be imported."""

    #: The row or file, without a token or e-mail address.
    name: str
    user_id: Any
    refresh_token: Secret | None = None
    #: The client and the account it was issued for, if the source states them.
    client_id: str = ""
    #: The token endpoint where it can be used; empty if the source does not state it.
    token_endpoint: str = ""
    sub: str = ""
    email: str = ""
    #: Why it cannot be read; empty if it can.
    problem: str = ""
    #: What to do if there is no refresh token; empty if that is to be expected.
    advice: str = ""
    #: Deletes the plain text, unless it has changed since.
    wipe: Callable[[], object] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Source:
    """The candidates of one source."""

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
                # Compared in Python, because SQL statements are logged with their parameters.
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

        # The e-mail address, unless GOOGLE_OAUTH2_USE_UNIQUE_USER_ID was set.
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
    """Read the values of oauth2client's ``CredentialsField``, whatever the field's class is now.

    Args:
        model: the model, ``"app_label.Model"``.
        field: the name of the field with the credentials.
        user_field: the relation to the user, if there are several.

    Raises:
        LookupError: when the model or field does not exist.
        ValueError: when the field does not allow NULL, or the relation to the user is ambiguous.
    """
    owner = _get_model(model)
    try:
        if not owner._meta.get_field(field).null:
            raise ValueError(
                f"{model}.{field} does not allow NULL: add null=True to the field first."
            )
    except FieldDoesNotExist as error:
        raise LookupError(str(error)) from None
    user_field = _find_user_field(owner, user_field)
    # The raw value: the field itself would unpickle it.
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
    """Read credentials files of google-auth, gcloud, oauth2client and Google's quickstarts.

    Args:
        paths: the paths of the files.
        user_id: the primary key of the user they belong to.
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
    """Return the content of a file, or enough of it to show that it is too large."""
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _get_model(label: str) -> Any:
    if label.count(".") != 1:
        raise LookupError(f"{label!r} is not of the form app_label.Model.")
    try:
        return apps.get_model(label)
    except LookupError as error:
        raise LookupError(f"{error} Its app must be in INSTALLED_APPS.") from None


def _find_user_field(model: Any, name: str | None) -> str:
    """Return the relation to the user, since a row's primary key is not the user's."""
    users = [
        field.name
        for field in model._meta.concrete_fields
        if field.related_model is get_user_model()
    ]
    if name in users or (name is None and len(users) == 1):
        return name or users[0]
    known = ", ".join(users) or "none"
    raise ValueError(f"Pass the relation to the user with --user-field. The model has: {known}.")


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
    # gcloud's files do not state it, and are only for Google. Files written by Node, PHP and Go
    # state neither, and may be from any provider.
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
    """Read ``extra_data``: a dict, or a string in projects that started with a text column."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}, "its extra_data is text that is not JSON"
    if value is None or isinstance(value, Mapping):
        return value or {}, ""
    return {}, "its extra_data is not a JSON object"


def _find_token_endpoint(provider: str) -> str:
    """Return the token endpoint of a provider in these packages; empty if unknown.

    A project may choose any name for a provider of its own, even ``google-workspace``.
    """
    return DEFAULT_ENDPOINTS["TOKEN_ENDPOINT"] if provider in _GOOGLES_PROVIDERS else ""


def _make_secret(text: str) -> Secret | None:
    return Secret(text) if text else None


def _get_text(mapping: Any, key: str) -> str:
    value = mapping.get(key) if isinstance(mapping, Mapping) else None
    return value if isinstance(value, str) else ""

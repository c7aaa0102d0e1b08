"""googleapiclient's API clients. Imported late: it needs the extra ``api``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache, partial
from inspect import signature
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

from ..exceptions import MissingScopesError
from .api_names import explain_unknown_api, explain_unpublished_api
from .authorized_http import MISSING_EXTRA, AuthorizedHttp, PooledHttp
from .build_arguments import DocumentSource, read_arguments
from .credentials import find_api_endpoint, make_credentials_for
from .insufficient_scope import refuse_insufficient_scope
from .service_templates import ServiceTemplate
from .sessions import without_traceback

try:
    import httplib2
    from googleapiclient.discovery import Resource, build, build_from_document, fix_method_name
    from googleapiclient.discovery_cache import DISCOVERY_DOC_DIR, get_static_doc
    from googleapiclient.errors import HttpError, UnknownApiNameOrVersion
    from googleapiclient.http import BatchHttpRequest
except ImportError as error:
    raise ImproperlyConfigured(MISSING_EXTRA) from error

if TYPE_CHECKING:
    from ..conf.service_accounts import ServiceAccount
    from ..models import GoogleAccount


def build_service_for(
    account: GoogleAccount | ServiceAccount,
    name: str,
    version: str,
    *,
    scopes: Sequence[str] = (),
    **kwargs: Any,
) -> Resource:
    """Return googleapiclient's client of an API.

    Args:
        account: a linked account, already checked to be ready; or a service account.
        name: the name of the API, such as ``"calendar"``.
        version: the version of the API, such as ``"v3"``.
        scopes: the scopes of a service account's token.
        kwargs: those of ``googleapiclient.discovery.build``, except for ``http`` and
            ``credentials``.

    Raises:
        ClientMisconfiguredError: as :func:`~.credentials.find_api_endpoint`.
        SubjectNotAllowedError: when the service account may not act for this user.
        TypeError: when an argument is unknown.
        ValueError: when the API is unknown.
    """
    where, how = read_arguments(kwargs, of_service=_list_service_arguments())
    api_endpoint = find_api_endpoint(account)
    template = _find_template(name, version, api_endpoint, where)
    credentials = make_credentials_for(account, scopes=scopes)
    http = AuthorizedHttp(credentials, api_endpoint=api_endpoint)
    service: Service
    if how:
        service = build_from_document(template.resource._rootDesc, http=http, **how)
        service.__class__ = Service
    else:
        service = template.copy(http, kind=Service)
    service.use_own_batches()
    return service


@cache
def _list_service_arguments() -> frozenset[str]:
    return frozenset(signature(build_from_document).parameters)


class Service(Resource):  # type: ignore[misc]
    """googleapiclient's client of an API, with our batches, also after unpickling."""

    def use_own_batches(self) -> None:
        """Use batches whose errors do not contain access tokens."""
        document = self._rootDesc
        batch_uri = document["rootUrl"] + document.get("batchPath", "batch")
        self.new_batch_http_request = partial(ServiceBatch, batch_uri=batch_uri)

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        self.use_own_batches()


class ServiceBatch(BatchHttpRequest):  # type: ignore[misc]
    """googleapiclient's batch, with errors that do not contain access tokens.

    A batch writes the headers of all its requests into one body. Exceptions of callbacks keep their
    traceback. Callbacks receive ``MissingScopesError`` for a missing scope.
    """

    _callback: Any

    def add(self, request: Any, callback: Any = None, request_id: str | None = None) -> None:
        """Add a request, as googleapiclient does."""
        super().add(request, callback and partial(_tell, callback, request), request_id)

    def execute(self, http: Any = None) -> None:
        """Send all requests, as googleapiclient does."""
        callback: Any = self._callback
        if callback:
            self._callback = lambda request_id, response, exception: _tell(
                callback, self._requests[request_id], request_id, response, exception
            )
        try:
            super().execute(http)
        finally:
            self._callback = callback

    def _execute(self, *args: Any) -> None:
        without_traceback(super()._execute, *args)


def _tell(callback: Any, request: Any, request_id: str, response: Any, exception: Any) -> None:
    """Call a batch's callback with the exception that a response stands for."""
    if isinstance(exception, HttpError):
        try:
            refuse_insufficient_scope(
                getattr(request.http, "credentials", None),
                int(exception.resp.status),
                exception.resp,
                lambda: exception.content,
            )
        except MissingScopesError as problem:
            exception = problem
    callback(request_id, response, exception)


def _find_template(
    name: str, version: str, api_endpoint: str | None, where: DocumentSource
) -> ServiceTemplate:
    """Return the template from which all clients of an API are copied.

    Args:
        name: the name of the API, such as ``"calendar"``.
        version: the version of the API, such as ``"v3"``.
        api_endpoint: an emulator that receives all requests to Google's APIs.
        where: the source of the discovery document.

    Raises:
        ValueError: when there is no such document.
    """
    if not isinstance(name, str) or not isinstance(version, str):
        raise ValueError(explain_unknown_api(name, version, directory=DISCOVERY_DOC_DIR))
    if where.is_shipped:
        return _read_template(name, version, api_endpoint)
    if where.cache is None and where.is_kept:
        return _fetch_template(name, version, api_endpoint, where)
    return _fetch_template.__wrapped__(name, version, api_endpoint, where)


@lru_cache(maxsize=64)
def _read_template(name: str, version: str, api_endpoint: str | None) -> ServiceTemplate:
    text = get_static_doc(name, version)
    if text is None:
        raise ValueError(explain_unknown_api(name, version, directory=DISCOVERY_DOC_DIR))
    return _make_template(json.loads(text), api_endpoint)


@lru_cache(maxsize=64)
def _fetch_template(
    name: str, version: str, api_endpoint: str | None, where: DocumentSource
) -> ServiceTemplate:
    """Fetch the discovery document without a token: it is public."""
    try:
        fetched = build(
            name,
            version,
            http=PooledHttp(api_endpoint=api_endpoint),
            static_discovery=False,
            discoveryServiceUrl=where.url,
            developerKey=where.developer_key,
            cache_discovery=where.cache is not None,
            cache=where.cache,
            num_retries=where.num_retries,
        )
    except UnknownApiNameOrVersion:
        raise ValueError(
            explain_unpublished_api(name, version, directory=DISCOVERY_DOC_DIR)
        ) from None
    return _make_template(dict(fetched._rootDesc), api_endpoint)


def _make_template(document: dict[str, Any], api_endpoint: str | None) -> ServiceTemplate:
    if api_endpoint:
        # Media uploads start from rootUrl, which client_options.api_endpoint does not reach.
        document["rootUrl"] = api_endpoint.rstrip("/") + "/"
        document.pop("mtlsRootUrl", None)
    resource = build_from_document(document, http=httplib2.Http())
    _touch_every_method(resource, document)
    return ServiceTemplate(resource)


def _touch_every_method(resource: Any, description: Mapping[str, Any]) -> None:
    """Have googleapiclient complete the document now: it does so in place, at first use."""
    for name, nested in description.get("resources", {}).items():
        _touch_every_method(getattr(resource, fix_method_name(name))(), nested)

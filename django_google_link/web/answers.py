"""Responds to a ``ConsentRequiredError``, during a view, after it, or while rendering."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse
from django.utils.cache import patch_vary_headers

from ..exceptions import ConsentRequiredError
from .access import GoogleAccess
from .consent import look_again, note_lost, require_owner
from .responses import consent_response
from .transactions import find_transactions, roll_back


def answer_error(
    error: ConsentRequiredError, request: HttpRequest, access: GoogleAccess
) -> HttpResponse:
    """Return the response to an error, when no transaction of the view is open any more.

    Raises:
        ConsentRequiredError: the same error, if it does not concern the user of this request.
    """
    note_lost(error)
    return consent_response(request, look_again(error, access), error)


def answer_error_in_view(
    error: ConsentRequiredError, request: HttpRequest, access: GoogleAccess
) -> HttpResponse:
    """Return the response to an error within the transaction that Django may have opened.

    That transaction is rolled back, as if the error had not been caught.

    Raises:
        ConsentRequiredError: the same error, if it does not concern the user of this request.
    """
    transactions = find_transactions(request)
    if not transactions:
        return answer_error(error, request, access)
    require_owner(error, access)
    roll_back(transactions)
    return _AnswerAfterTransaction(lambda: answer_error(error, request, access))


def guard_rendering(
    response: HttpResponseBase, request: HttpRequest, access: GoogleAccess
) -> HttpResponseBase:
    """Handle an error that is raised while Django renders the response of a view.

    At that time the transaction around the view has been committed.
    """
    render = getattr(response, "render", None)
    if not callable(render) or getattr(response, "is_rendered", False):
        return response
    additions = _Additions(response)

    def answer(error: ConsentRequiredError) -> HttpResponseBase:
        return additions.apply(answer_error(error, request, access))

    def render_or_answer() -> Any:
        vars(guarded).pop("render", None)  # A cache pickles the rendered response.
        try:
            return render()
        except ConsentRequiredError as error:
            return answer(error)

    async def arender_or_answer() -> Any:
        vars(guarded).pop("render", None)
        try:
            return await render()
        except ConsentRequiredError as error:
            return await sync_to_async(answer)(error)

    guarded: Any = response
    guarded.render = arender_or_answer if iscoroutinefunction(render) else render_or_answer
    return response


class _AnswerAfterTransaction(SimpleTemplateResponse):
    """A response that is made after Django has ended the transaction around the view.

    Django renders template responses after that, and uses the response that ``render()`` returns.
    """

    def __init__(self, make_answer: Callable[[], HttpResponse]) -> None:
        super().__init__(template="", context={}, status=403)
        self._make_answer = make_answer
        self._additions = _Additions(self)

    def render(self) -> Any:
        """Return the actual response."""
        return self._additions.apply(self._make_answer())


class _Additions:
    """Copies what other decorators add to a response after the view has returned it.

    Args:
        response: the response before they add to it.
    """

    def __init__(self, response: HttpResponseBase) -> None:
        self._response: Any = response
        self._before = {*response.headers, *response.cookies, *vars(response)}

    def apply(self, answer: HttpResponse) -> HttpResponseBase:
        """Copy the additions to the response that replaces the original one."""
        response, before = self._response, self._before
        for name, value in response.headers.items():
            if name == "Vary":
                patch_vary_headers(answer, value.replace(" ", "").split(","))
            elif name not in before:
                answer.setdefault(name, value)
        for name, value in response.cookies.items():
            if name not in before:
                answer.cookies[name] = value
        for name in vars(response).keys() - before - {"render", "_additions"}:
            setattr(answer, name, vars(response)[name])
        final: HttpResponseBase = answer
        for callback in getattr(response, "_post_render_callbacks", ()):
            final = callback(final) or final
        return final

"""The answer to a ``ConsentRequiredError``: when it is made, and in whose place it comes."""

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
    """Return the answer to an error, where no transaction of the view's is open any more.

    Raises:
        ConsentRequiredError: the same, when it is not the user of this request who can help.
    """
    note_lost(error)
    return consent_response(request, look_again(error, access), error)


def answer_error_in_view(
    error: ConsentRequiredError, request: HttpRequest, access: GoogleAccess
) -> HttpResponse:
    """Return the answer to an error inside the transaction that Django may have opened.

    All that was done there is taken back, as if nobody had caught the error.

    Raises:
        ConsentRequiredError: the same, when it is not the user of this request who can help.
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
    """Answer an error that comes up while Django renders what the view has returned.

    That is after the view, and after the transaction around it: what it has written is committed.
    """
    render = getattr(response, "render", None)
    if not callable(render) or getattr(response, "is_rendered", False):
        return response
    additions = _Additions(response)

    def answer(error: ConsentRequiredError) -> HttpResponseBase:
        return additions.apply(answer_error(error, request, access))

    def render_or_answer() -> Any:
        vars(guarded).pop("render", None)  # A cache pickles what was rendered.
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
    """An answer that is made when Django has ended the transaction around the view.

    It renders what looks like a template then, and sends what that returns.
    """

    def __init__(self, make_answer: Callable[[], HttpResponse]) -> None:
        super().__init__(template="", context={}, status=403)
        self._make_answer = make_answer
        self._additions = _Additions(self)

    def render(self) -> Any:
        """Return the answer."""
        return self._additions.apply(self._make_answer())


class _Additions:
    """What decorators add to a response after the view has returned it.

    Args:
        response: as it is before that.
    """

    def __init__(self, response: HttpResponseBase) -> None:
        self._response: Any = response
        self._before = {*response.headers, *response.cookies, *vars(response)}

    def apply(self, answer: HttpResponse) -> HttpResponseBase:
        """Let the answer that comes in place of the response have them too."""
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

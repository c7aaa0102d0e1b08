"""What a type checker sees through the decorators. Checked by mypy, and never run."""

from typing import assert_type

from django.http import HttpRequest, HttpResponse, JsonResponse

from django_google_link.decorators import google_aware, google_required
from django_google_link.models import GoogleAccount
from django_google_link.services import aaccess_token, access_token


@google_required
def bare(request: HttpRequest, pk: int) -> JsonResponse:
    return JsonResponse({"pk": pk})


@google_required(scopes=["openid"], optional_scopes="email profile", account=lambda request: None)
def called(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@google_aware(client="second")
async def asynchronous(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(name)


async def check(request: HttpRequest, account: GoogleAccount) -> None:
    assert_type(bare(request, 1), JsonResponse)
    assert_type(bare(request, pk=1), JsonResponse)
    assert_type(called(request), HttpResponse)
    assert_type(await asynchronous(request, name="x"), HttpResponse)
    assert_type(access_token(account), str)
    assert_type(await aaccess_token(account), str)
    bare(request, "1")  # type: ignore[arg-type]
    called(request, 1)  # type: ignore[call-arg]
    google_required(scope=["openid"])  # type: ignore[call-overload]

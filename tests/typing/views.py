"""What a type checker sees through the decorators. Checked by mypy, and never run."""

from typing import assert_type

import httpx
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.generic import TemplateView
from google_auth_oauthlib.flow import Flow

from django_google_link.decorators import google_aware, google_required
from django_google_link.mixins import GoogleAwareMixin, GoogleRequiredMixin
from django_google_link.models import GoogleAccount
from django_google_link.request import GoogleAccess, GoogleAwareRequest, GoogleRequiredRequest
from django_google_link.services import (
    ServiceAccount,
    aaccess_token,
    access_token,
    alink_credentials,
    httpx_auth,
    link_credentials,
)


@google_required
def bare(request: HttpRequest, pk: int) -> JsonResponse:
    return JsonResponse({"pk": pk})


@google_required(scopes=["openid"], optional_scopes="email profile", account=lambda request: None)
def called(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@google_aware(client="second")
async def asynchronous(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(name)


@google_required
def required(request: GoogleRequiredRequest, pk: int) -> HttpResponse:
    assert_type(request.google.account, GoogleAccount)
    return HttpResponse(take_either(request.google))


@google_required(scopes=["openid"])
async def required_asynchronous(request: GoogleRequiredRequest) -> HttpResponse:
    return HttpResponse(await aaccess_token(request.google.account))


@google_required
async def required_with_httpx(request: GoogleRequiredRequest) -> HttpResponse:
    async with httpx.AsyncClient() as client:
        response = await client.get("https://example.com", auth=request.google.httpx_auth())
        await client.get("https://example.com", auth=httpx_auth(request.user, scopes="openid"))
        token = await aaccess_token(request.google.account, rejected="ya29.refused")
    return HttpResponse(response.text + token + access_token(request.user, rejected=token))


@google_aware
def aware(request: GoogleAwareRequest) -> HttpResponse:
    assert_type(request.google.account, GoogleAccount | None)
    take_either(request.google)
    return HttpResponse(request.google.account.email)  # type: ignore[union-attr]


class OwnRequest(GoogleRequiredRequest):
    tenant: str


@google_required
def of_a_tenant(request: OwnRequest) -> HttpResponse:
    return HttpResponse(f"{request.tenant} {request.google.account.email}")


class RenamedRequest(HttpRequest):
    linked: GoogleAccess


@google_aware
def renamed(request: RenamedRequest) -> HttpResponse:
    return HttpResponse(request.linked.status)


@google_required  # type: ignore[type-var]
def without_a_request(pk: int) -> HttpResponse:
    return HttpResponse()


class Methods(View):
    @method_decorator(google_required(scopes=["openid"]))
    def get(self, request: GoogleRequiredRequest) -> HttpResponse:
        return HttpResponse(request.google.account.email)

    @method_decorator(google_required)
    async def post(self, request: GoogleRequiredRequest) -> HttpResponse:
        return HttpResponse(request.google.account.email)


@method_decorator(google_required, name="dispatch")
class Dispatched(View):
    request: GoogleRequiredRequest

    def get(self, request: GoogleRequiredRequest) -> HttpResponse:
        return HttpResponse(self.request.google.account.email)


class Required(GoogleRequiredMixin, TemplateView):
    request: GoogleRequiredRequest
    google_scopes = ["openid"]

    def email(self) -> str:
        return self.request.google.account.email


class Aware(GoogleAwareMixin, TemplateView):
    request: GoogleAwareRequest

    def account(self) -> GoogleAccount | None:
        return assert_type(self.request.google.account, GoogleAccount | None)


def take_either(google: GoogleAccess) -> str:
    return google.status


urlpatterns = [
    path("", bare),
    path("", asynchronous),
    path("", required),
    path("", required_asynchronous),
    path("", of_a_tenant),
    path("", Required.as_view()),
]


async def check(request: HttpRequest, account: GoogleAccount) -> None:
    assert_type(bare(request, 1), JsonResponse)
    assert_type(bare(request, pk=1), JsonResponse)
    assert_type(called(request), HttpResponse)
    assert_type(await asynchronous(request, name="x"), HttpResponse)
    assert_type(required(request, 1), HttpResponse)
    assert_type(await required_asynchronous(request), HttpResponse)
    assert_type(access_token(account), str)
    assert_type(access_token(ServiceAccount("reports")), str)
    assert_type(await aaccess_token(account), str)
    flow = Flow.from_client_secrets_file("client_secret.json", scopes=["openid"])
    assert_type(link_credentials(request.user, flow.credentials), GoogleAccount)
    linking = alink_credentials(request.user, flow.credentials, client="tasks", label="Work")
    assert_type(await linking, GoogleAccount)
    link_credentials(request.user, flow.credentials, "tasks")  # type: ignore[call-arg]
    link_credentials("anna", flow.credentials)  # type: ignore[arg-type]
    bare(request, "1")  # type: ignore[arg-type]
    called(request, 1)  # type: ignore[call-arg]
    google_required(scope=["openid"])  # type: ignore[call-overload]


def choose_second(request: GoogleAwareRequest) -> GoogleAccount:
    return request.google.accounts[1]


async def achoose(request: HttpRequest) -> str | None:
    return request.GET.get("account")


@google_required(account=choose_second)
def second(request: GoogleRequiredRequest) -> HttpResponse:
    return HttpResponse(request.google.account.email)


@google_required(account=achoose)
async def asynchronously_chosen(request: GoogleRequiredRequest) -> HttpResponse:
    return HttpResponse(request.google.account.email)

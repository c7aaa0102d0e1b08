"""The URLs of the site. Those of django-google-link are under ``google/``."""

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path
from pages import views
from pages.api import AgendaView
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView
from videos.views import carry_on, videos

urlpatterns = [
    path("", views.home, name="home"),
    path("agenda/", views.agenda, name="agenda"),
    path("agenda.json", views.agenda_json, name="agenda-json"),
    path("files/", views.Files.as_view(), name="files"),
    path("videos/", videos, name="videos"),
    path("videos/<int:pk>/", carry_on, name="carry-on"),
    path("admin/", admin.site.urls),
    path("google/", include("django_google_link.urls")),
    path("api/agenda/", AgendaView.as_view()),
    path("api/google/", include("django_google_link.contrib.rest_framework.urls")),
    path("api/token/", TokenObtainPairView.as_view()),
    path("api/token/refresh/", TokenRefreshView.as_view()),
    path("i18n/", include("django.conf.urls.i18n")),
    path(
        "login/",
        LoginView.as_view(
            redirect_authenticated_user=True, extra_context={"is_demo": settings.IS_DEMO}
        ),
        name="login",
    ),
    path("logout/", LogoutView.as_view(), name="logout"),
]

"""Log in to a fresh project, and look at the pages of the app: run by ``manage.py shell``."""

from __future__ import annotations

import re

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.management import get_commands, load_command_class
from django.test import Client
from django.urls import reverse

from django_google_link.models import GoogleAccount


def visit(client: Client, url: str, *, status: int = 200) -> str:
    response = client.get(url, headers={"host": "localhost"})
    assert response.status_code == status, f"{url}: {response.status_code}"
    return response.content.decode()


user = get_user_model().objects.create_superuser("anna", password="pw")
account = GoogleAccount.objects.create(
    user=user, client="default", sub="1", email="anna@gmail.com", is_default=True
)
client = Client()
client.force_login(user)

page = visit(client, reverse("google_link:accounts"))
assert "anna@gmail.com" in page
stylesheets = re.findall(r'href="/?static/([^"]+\.css)"', page)
assert stylesheets, page
assert all((settings.STATIC_ROOT / name).is_file() for name in stylesheets), stylesheets

visit(client, reverse("google_link:unlink", args=[account.pk]))
visit(client, reverse("google_link:callback"), status=302)
visit(client, reverse("google_link:failed"), status=400)

for model in apps.get_app_config("google_link").get_models():
    if admin.site.is_registered(model):
        visit(client, reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"))

for name, app in get_commands().items():
    if app == "django_google_link":
        load_command_class(app, name)

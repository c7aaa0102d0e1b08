"""The settings of a site with django-tenants, in one of three layouts; for its workers as well."""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, INSTALLED_APPS, MIDDLEWARE

# "tenant": users and links are each tenant's own; "both": the public schema has some, too;
# "shared": all tenants share them.
LAYOUT = os.environ.get("TENANTS_LAYOUT", "tenant")
# What a process is told that a test starts.
ORDER = json.loads(os.environ.get("TENANTS_SITE", "{}"))

ALLOWED_HOSTS = ["*"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
LINKS = [app for app in INSTALLED_APPS if app not in {"django.contrib.staticfiles"}]
COMMON = ["django_tenants", "tests.tenants.customers", "django.contrib.staticfiles"]
SHARED_APPS = COMMON if LAYOUT == "tenant" else [*COMMON, *LINKS]
TENANT_APPS = ["django.contrib.contenttypes"] if LAYOUT == "shared" else LINKS
INSTALLED_APPS = list(dict.fromkeys([*SHARED_APPS, *TENANT_APPS]))
MIDDLEWARE = ["django_tenants.middleware.main.TenantMainMiddleware", *MIDDLEWARE]
DATABASES = {
    "default": {
        **DATABASES["default"],
        "ENGINE": "django_tenants.postgresql_backend",
        **ORDER.get("DATABASE", {}),
    }
}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
TENANT_MODEL = "customers.Customer"
TENANT_DOMAIN_MODEL = "customers.Domain"
GOOGLE_LINK = ORDER.get("GOOGLE_LINK", GOOGLE_LINK)  # noqa: F405

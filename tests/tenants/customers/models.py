"""The tenants of a site with django-tenants."""

from __future__ import annotations

from django.db import models
from django_tenants.models import DomainMixin, TenantMixin


class Customer(TenantMixin):
    """A tenant, whose schema is made together with the row."""

    name = models.CharField(max_length=100)


class Domain(DomainMixin):
    """The host of a tenant."""

"""A site without any address."""

from __future__ import annotations

from typing import Any

urlpatterns: list[Any] = []

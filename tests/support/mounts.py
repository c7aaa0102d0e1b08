"""The mounts of the endpoints in the test site."""

from __future__ import annotations

MOUNTS = {"django": "/google/api/", "drf": "/drf/google/", "ninja": "/ninja/google/"}

"""Where the test site has the endpoints."""

from __future__ import annotations

MOUNTS = {"django": "/google/api/", "drf": "/drf/google/", "ninja": "/ninja/google/"}

"""Gemini on Vertex AI for Pipecat: its own service, which signs in when it is first asked.

Left to itself it signs in where it is made, and the event loop, with every call on it, stands still meanwhile.
"""

# Google leaves open what a key file's content is.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json

from google.oauth2.service_account import Credentials
from pipecat.services.google.vertex.llm import GoogleVertexLLMService as Service
from typing_extensions import override

from voxplane.providers.google import CLOUD_SCOPES


class GoogleVertexLLMService(Service):
    """Pipecat's Gemini on Vertex AI; Google's client signs in with `credentials`, a key file's JSON, in a thread."""

    @staticmethod
    @override
    def _get_credentials(credentials: str | None, credentials_path: str | None) -> Credentials:
        """Take the key that is given, and no other."""
        return Credentials.from_service_account_info(json.loads(credentials or "{}"), scopes=CLOUD_SCOPES)

"""Checks requests and answers against an OpenAPI description, by the library openapi-core."""

import json
import threading

from openapi_core import Config, OpenAPI
from openapi_core.testing import MockRequest, MockResponse


# Paths of the API that the description at hand, an extract, does not have.
MISSING = ("/v2/firewalls",)


class Contract:
    def __init__(self, path):
        self.api = OpenAPI.from_file_path(path, config=Config())
        self.lock = threading.Lock()
        self.violations = []

    def check(self, method, path, text, done):
        """Notes what does not fit. `done` is the status and the body of the answer."""
        path, _, query = path.partition("?")
        if path in MISSING:
            return
        arguments = dict(pair.split("=", 1) for pair in query.split("&") if "=" in pair)
        request = MockRequest(
            "https://api.digitalocean.com",
            method.lower(),
            path,
            args=arguments,
            headers={"Authorization": "Bearer test"},
            data=text or None,
            content_type="application/json",
        )
        status, body = done
        data = b"" if body is None else json.dumps(body).encode()
        answer = MockResponse(data, status_code=status, content_type="application/json")
        with self.lock:
            for what, check in [
                ("request", lambda: self.api.validate_request(request)),
                ("response", lambda: self.api.validate_response(request, answer)),
            ]:
                try:
                    check()
                except Exception as error:
                    cause = getattr(error, "__cause__", None)
                    found = [str(e) for e in getattr(cause, "schema_errors", [])] or [str(cause or error)]
                    self.violations.append(f"{method} {path}: {what}, status {status}: {found[:3]}")

"""The lines that the app logs."""

import json

import pytest


def request_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    prefix = "request "
    return [
        json.loads(record.getMessage().removeprefix(prefix))
        for record in caplog.records
        if record.name == "shared.routes.exchange" and record.getMessage().startswith(prefix)
    ]

"""What the stand-in answers to `POST /v1/embeddings` and `POST /v1/moderations`."""

import base64
import hashlib
import struct
from typing import Any
from uuid import uuid4

from starlette.responses import Response

from local.stand_in.exchange import Exchange, document, missing

DIMENSIONS = 16
"""Numbers of a vector: few, because nobody searches with them."""


async def embed(exchange: Exchange) -> Response:
    """Answers `POST /v1/embeddings` with vectors made of a digest: equal texts have equal ones."""
    body = exchange.fields or {}
    given = body.get("input")
    if not given:
        raise missing("input")
    is_one = isinstance(given, str) or isinstance(given[0], int)
    texts = [given] if is_one else given
    rows = [
        {"object": "embedding", "index": index, "embedding": _vector(text, body)}
        for index, text in enumerate(texts)
    ]
    tokens = sum(len(str(text).split()) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return document(
        {"object": "list", "data": rows, "model": body.get("model"), "usage": usage}, exchange.rule
    )


async def moderate(exchange: Exchange) -> Response:
    """Answers `POST /v1/moderations`: nothing is ever flagged."""
    body = exchange.fields or {}
    given = body.get("input")
    if not given:
        raise missing("input")
    texts = [given] if isinstance(given, str) else given
    names = ("harassment", "hate", "self-harm", "sexual", "violence")
    result = {
        "flagged": False,
        "categories": dict.fromkeys(names, False),
        "category_scores": dict.fromkeys(names, 0.0),
        "category_applied_input_types": {name: ["text"] for name in names},
    }
    answer = {
        "id": f"modr-{uuid4().hex}",
        "model": body.get("model"),
        "results": [result] * len(texts),
    }
    return document(answer, exchange.rule)


def _vector(text: Any, body: dict[str, Any]) -> list[float] | str:
    digest = hashlib.sha512(str(text).encode()).digest()
    numbers = [
        digest[index] / 255 - 0.5
        for index in range(min(body.get("dimensions") or DIMENSIONS, len(digest)))
    ]
    if body.get("encoding_format") == "base64":
        return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
    return numbers

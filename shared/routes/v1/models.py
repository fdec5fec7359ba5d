"""`GET /v1/models`: the models that the caller may use.

Source: https://platform.openai.com/docs/api-reference/models
"""

import asyncio
import logging
from typing import Any

from shared.auth import Principal
from shared.deadline import time_limit
from shared.errors import GatewayError
from shared.openai_service import Capability, OpenAIService
from shared.openai_service.provider_config import ProviderConfig
from shared.openai_service.service import ModelList
from shared.routes.v1.agent import AGENT

MODEL_LIST_SECONDS = 10
"""Maximum seconds that a provider may take to list its models."""

logger = logging.getLogger(__name__)


async def list_models(openai: OpenAIService, principal: Principal) -> list[dict[str, Any]]:
    """Returns the models that are configured or that the providers list, by name, and the agent.

    Args:
        openai: The providers.
        principal: Who may use them.
    """
    endpoints = openai.endpoints
    served = endpoints.by_provider()
    configs = list(dict.fromkeys([*served, *endpoints.named.configs]))
    listings = await asyncio.gather(*(_listed(openai, config) for config in configs))
    rows: dict[str, dict[str, Any]] = {}
    for config, listed in zip(configs, listings, strict=True):
        configured = [endpoints.get(each) for each in served.get(config, ())]
        for name in [*listed, *(each.model or each.target for each in configured)]:
            if not endpoints.may_use(config, name):
                continue
            shown = name
            if config.name is not None and not endpoints.named.serves(config, name):
                shown = f"{config.name}/{name}"
            rows.setdefault(shown, _row(shown, config.label, listed.get(name)))
    if "chat" in principal.scopes and _may_use_agent(openai):
        rows[AGENT] = _row(AGENT, "gateway", None)
    return [rows[name] for name in sorted(rows)]


def _may_use_agent(openai: OpenAIService) -> bool:
    try:
        openai.endpoints.get(Capability.CHAT).choose_model(None)
    except GatewayError:
        return False
    return True


async def _listed(openai: OpenAIService, config: ProviderConfig) -> ModelList:
    try:
        async with time_limit(MODEL_LIST_SECONDS):
            return await openai.list_models_of(config)
    except GatewayError as error:
        logger.warning("The models of %s are unknown: %s", config.host, error.code)
        return {}


def _row(name: str, owner: str, shutdown_date: str | None) -> dict[str, Any]:
    row = {"id": name, "object": "model", "created": 0, "owned_by": owner}
    return row if shutdown_date is None else {**row, "shutdown_date": shutdown_date}

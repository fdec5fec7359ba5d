"""``model: "agent"``: the chat agent as one more model of OpenAI's API."""

from shared.routes.v1.agent.model import AGENT, AgentModel
from shared.routes.v1.agent.past_calls import replace_code_calls
from shared.routes.v1.agent.work import replace_work

__all__ = ["AGENT", "AgentModel", "replace_code_calls", "replace_work"]

"""`/v1`: OpenAI's API. Errors in its format are in `shared/routes/openai_errors.py`."""

from shared.routes.v1.router import openai_router

__all__ = ["openai_router"]

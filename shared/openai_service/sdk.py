"""All that touches the ``openai`` SDK and ``azure.identity``: importing this module imports the SDK.

`Clients` imports it on first use, off the event loop, because the import takes most of a second.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any

import httpx2
import openai

from shared.errors import (
    FIRST_CLIENT_ERROR,
    ContentFiltered,
    ProviderError,
    ProviderNotFound,
    ProviderRejected,
    ProviderUnavailable,
    QuotaExceeded,
)
from shared.identity import open_credential
from shared.openai_service.failures import (
    network_reason,
    no_answer,
    no_token,
    redirected,
    refused_credentials,
    too_many_requests,
    with_reason,
)
from shared.openai_service.provider_config import ProviderConfig
from shared.openai_service.sdk_http import HttpClient
from shared.openai_service.text import repair_surrogates

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from openai._types import RequestOptions

_NO_KEY = "none"
"""Sent to compatible endpoints that want no key: the SDK insists on one."""

_FILTER_CODES = frozenset({"content_filter", "content_policy_violation", "moderation_blocked"})


@dataclass(frozen=True, slots=True)
class Client:
    """An SDK client and the credential that lives as long as it.

    Attributes:
        api: The SDK's client, with its retries off and no timeout but for connecting: the deadline
            of the request limits the rest.
    """

    api: openai.AsyncOpenAI
    credential: "AsyncTokenCredential | None" = None

    async def aclose(self) -> None:
        """Closes connections and the credential."""
        await self.api.close()
        if self.credential is not None:
            await self.credential.close()


def open_client(
    config: ProviderConfig, *, in_azure: bool, identity_client_id: str | None
) -> Client:
    """Makes the client of a provider; nothing is sent yet.

    Args:
        config: How to reach the provider.
        in_azure: Whether a managed identity is there; elsewhere the developer's login is used.
        identity_client_id: The user-assigned identity; None for the system-assigned one.
    """
    credential = token_provider = None
    if config.uses_identity:
        credential = open_credential(in_azure=in_azure, client_id=identity_client_id)
        from azure.identity.aio import get_bearer_token_provider

        token_provider = get_bearer_token_provider(credential, config.token_scope or "")
    key = config.api_key.get_secret_value() if config.api_key else None
    http_client = HttpClient()
    api: openai.AsyncOpenAI
    if config.api_version:
        api = openai.AsyncAzureOpenAI(
            azure_endpoint=config.base_url,
            api_version=config.api_version,
            api_key=key,
            azure_ad_token_provider=token_provider,
            max_retries=0,
            http_client=http_client,
        )
    else:
        api = openai.AsyncOpenAI(
            base_url=config.base_url,
            api_key=token_provider or key or _NO_KEY,
            organization=config.organization,
            project=config.project,
            max_retries=0,
            http_client=http_client,
        )
    return Client(api, credential)


async def open_stream(
    api: openai.AsyncOpenAI, path: str, parameters: Mapping[str, str]
) -> httpx2.Response | str:
    """Opens bytes for reading, or returns the URL to which the provider sends us for them."""
    options: RequestOptions = {"params": parameters}
    try:
        # With this type the SDK returns the response as it is, not yet read.
        response: Any = await api.get(
            path,
            cast_to=httpx2.Response,
            options=options,
            stream=True,
            stream_cls=openai.AsyncStream[Any],
        )
    except openai.APIStatusError as error:
        if location := error.response.headers.get("location"):
            return str(error.response.url.join(location))
        raise
    opened: httpx2.Response = response
    return opened


@contextmanager
def provider_errors(config: ProviderConfig) -> Iterator[None]:
    """Turns what the SDK and the identity raise into our exceptions.

    Raises:
        ProviderError: In place of theirs.
    """
    try:
        yield
    except openai.APIStatusError as error:
        refusal = with_reason(f"status {error.status_code}", _from_status(error, config))
        refusal.is_before_output = True
        raise refusal from error
    except openai.APIConnectionError as error:
        raise with_reason(network_reason(error), no_answer(error.__cause__)) from error
    except openai.APIError as error:
        failure = with_reason("error in the stream", _from_stream(error))
        failure.is_before_output = True
        raise failure from error
    except (JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        # The SDK lets the decoder's error through when a 200 is not the JSON that it says it is, or is
        # nested too deeply.
        raise ProviderUnavailable("The provider's answer is not valid JSON. Try again.") from error
    except ValueError as error:
        if "integer string conversion" not in str(error):
            raise
        # Python turns no number of thousands of digits into an integer; the decoder lets that through.
        raise ProviderUnavailable("The provider's answer is not valid JSON. Try again.") from error
    except Exception as error:
        if not config.uses_identity or not type(error).__module__.startswith("azure."):
            raise
        raise no_token() from error


def _from_status(error: openai.APIStatusError, config: ProviderConfig) -> ProviderError:
    status = error.status_code
    if status < FIRST_CLIENT_ERROR:
        return redirected()
    if status in (401, 403):
        return refused_credentials(status, config)
    if status == 429:
        return too_many_requests((error.code, error.type), error.response.headers)
    if _is_filtered(error):
        return ContentFiltered(_filter_message(error))
    if status >= 500 or status == 408:
        return ProviderUnavailable(f"The provider failed with status {status}. Try again.")
    rejection = ProviderNotFound if status in (404, 410) else ProviderRejected
    return rejection(f"The provider rejected the request: {_message(error)}")


def _from_stream(error: openai.APIError) -> ProviderError:
    if _is_filtered(error):
        return ContentFiltered(_filter_message(error))
    if "insufficient_quota" in (error.code, error.type):
        return QuotaExceeded("The provider says that its quota is spent. Raise it there.")
    return ProviderUnavailable("The provider failed while it was answering. Try again.")


def _body(error: openai.APIError) -> Mapping[str, Any]:
    """Returns the error's object; Gemini puts it into a list, which the SDK leaves as it is."""
    body = error.body
    if isinstance(body, list) and body and isinstance(body[0], Mapping):
        body = body[0].get("error")
    return body if isinstance(body, Mapping) else {}


def _message(error: openai.APIError) -> str:
    return repair_surrogates(str(_body(error).get("message") or error.message))[:2000]


def _is_filtered(error: openai.APIError) -> bool:
    inner = _body(error).get("innererror")
    inner_code = inner.get("code") if isinstance(inner, Mapping) else None
    return error.code in _FILTER_CODES or inner_code == "ResponsibleAIPolicyViolation"


def _filter_message(error: openai.APIError) -> str:
    return f"The provider's content filter refused the request: {_message(error)}"

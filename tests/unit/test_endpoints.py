import pytest
import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette

from shared.errors import NotConfigured
from shared.openai_service.endpoint import Endpoint
from shared.openai_service.endpoints import Endpoints
from shared.openai_service.provider_config import Provider, ProviderConfig
from shared.settings import Capability, load_settings
from shared.timing import KEEP_ALIVE_SECONDS

AZURE = "https://name.openai.azure.com"
GEMINI = "https://generativelanguage.googleapis.com/v1beta/openai"


def resolve(capability: Capability, **environ: str) -> Endpoint:
    settings = load_settings(environ)
    assert settings.problems == ()
    return Endpoints(settings).get(capability)


def refusal(capability: Capability, **environ: str) -> str:
    """Returns why a capability has no endpoint."""
    with pytest.raises(NotConfigured) as raised:
        resolve(capability, **environ)
    return raised.value.detail


def test_openai_key_alone_is_openai() -> None:
    assert resolve(
        Capability.CHAT, OPENAI_API_KEY="k", OPENAI_ORGANIZATION="o", OPENAI_PROJECT="p"
    ) == Endpoint(
        ProviderConfig(
            Provider.OPENAI,
            "https://api.openai.com/v1",
            SecretStr("k"),
            "OPENAI_API_KEY",
            organization="o",
            project="p",
        ),
        "gpt-6-luna",
    )


def test_base_url_alone_is_a_compatible_endpoint_without_key() -> None:
    assert resolve(Capability.CHAT, OPENAI_BASE_URL="http://127.0.0.1:1/v1/") == Endpoint(
        ProviderConfig(Provider.COMPATIBLE, "http://127.0.0.1:1/v1", None, "OPENAI_API_KEY"),
        "gpt-6-luna",
    )


def test_azure_without_key_uses_the_identity_and_the_v1_api() -> None:
    endpoint = resolve(
        Capability.CHAT, AZURE_OPENAI_ENDPOINT=f"{AZURE}/", AZURE_OPENAI_CHAT_DEPLOYMENT="mine"
    )
    assert endpoint == Endpoint(
        ProviderConfig(
            Provider.AZURE,
            f"{AZURE}/openai/v1",
            None,
            "AZURE_OPENAI_API_KEY",
            token_scope="https://cognitiveservices.azure.com/.default",
        ),
        None,
        "mine",
    )
    assert endpoint.config.uses_identity
    assert endpoint.target == "mine"


@pytest.mark.parametrize(
    ("environ", "scope"),
    [
        (
            {"AZURE_OPENAI_ENDPOINT": "https://name.services.ai.azure.com"},
            "https://ai.azure.com/.default",
        ),
        (
            {"AZURE_OPENAI_ENDPOINT": AZURE, "AZURE_OPENAI_TOKEN_SCOPE": "api://x/.default"},
            "api://x/.default",
        ),
        ({"AZURE_OPENAI_ENDPOINT": AZURE, "AZURE_OPENAI_API_KEY": "k"}, None),
    ],
)
def test_token_scope_fits_the_azure_domain(environ: dict[str, str], scope: str | None) -> None:
    endpoint = resolve(Capability.CHAT, **environ)
    assert endpoint.config.token_scope == scope


def test_azure_deployment_defaults_to_the_model() -> None:
    endpoint = resolve(
        Capability.IMAGE, AZURE_OPENAI_ENDPOINT=AZURE, OPENAI_IMAGE_MODEL="gpt-image-9"
    )
    assert (endpoint.model, endpoint.deployment) == ("gpt-image-9", "gpt-image-9")


def test_dated_azure_api_is_asked_at_the_resource() -> None:
    endpoint = resolve(
        Capability.CHAT, AZURE_OPENAI_ENDPOINT=AZURE, AZURE_OPENAI_API_VERSION="2025-04-01"
    )
    assert endpoint.config.base_url == AZURE
    assert endpoint.config.api_version == "2025-04-01"


def test_azure_comes_before_openai_and_openai_before_gemini() -> None:
    keys = {"OPENAI_API_KEY": "k", "GEMINI_API_KEY": "g"}
    endpoint = resolve(Capability.CHAT, AZURE_OPENAI_ENDPOINT=AZURE, **keys)
    assert endpoint.config.provider is Provider.AZURE
    endpoint = resolve(Capability.CHAT, **keys)
    assert endpoint.config.provider is Provider.OPENAI


def test_gemini_key_is_googles_compatible_endpoint() -> None:
    assert resolve(Capability.CHAT, GEMINI_API_KEY="g", OPENAI_MODEL="gemini-9") == Endpoint(
        ProviderConfig(Provider.GEMINI, GEMINI, SecretStr("g"), "GEMINI_API_KEY"), "gemini-9"
    )


@pytest.mark.parametrize("capability", [Capability.AUDIO, Capability.TRANSCRIPTION])
def test_gemini_has_no_audio(capability: Capability) -> None:
    missing = refusal(capability, GEMINI_API_KEY="g")
    assert f"OPENAI_{capability.upper()}_BASE_URL" in missing


@pytest.mark.parametrize("capability", list(Capability))
def test_capability_can_have_an_endpoint_of_its_own(capability: Capability) -> None:
    upper = capability.upper()
    environ = {
        "OPENAI_API_KEY": "general",
        "OPENAI_ORGANIZATION": "o",
        f"OPENAI_{upper}_BASE_URL": "https://other.example/v1",
        f"OPENAI_{upper}_API_KEY": "own",
        f"OPENAI_{upper}_MODEL": "m",
    }
    config = ProviderConfig(
        Provider.COMPATIBLE,
        "https://other.example/v1",
        SecretStr("own"),
        f"OPENAI_{upper}_API_KEY",
    )
    assert resolve(capability, **environ) == Endpoint(config, "m")


def test_endpoint_of_its_own_without_key_gets_the_general_one() -> None:
    endpoint = resolve(
        Capability.CHAT, OPENAI_API_KEY="k", OPENAI_CHAT_BASE_URL="https://other.example/v1"
    )
    assert endpoint.config.api_key == SecretStr("k")


@pytest.mark.parametrize("capability", list(Capability))
def test_no_provider_names_the_settings(capability: Capability) -> None:
    missing = refusal(capability)
    for setting in (
        "OPENAI_API_KEY",
        "AZURE_OPENAI_ENDPOINT",
        "GEMINI_API_KEY",
        f"OPENAI_{capability.upper()}_BASE_URL",
    ):
        assert setting in missing


def test_video_has_no_default_model() -> None:
    missing = refusal(Capability.VIDEO, OPENAI_API_KEY="k")
    assert "OpenAI closed its own video API" in missing
    assert "OPENAI_VIDEO_MODEL" in missing


def test_config_does_not_show_its_key() -> None:
    assert "sk-secret" not in repr(resolve(Capability.CHAT, OPENAI_API_KEY="sk-secret"))


def test_idle_connections_are_closed_before_a_server_of_uvicorn_closes_them() -> None:
    assert uvicorn.Config(Starlette()).timeout_keep_alive > KEEP_ALIVE_SECONDS

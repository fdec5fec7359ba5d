import json
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from shared import __build__
from shared.settings import SETTING_NAMES, KeyEntry, Limits, ModelPrice, load_settings
from tests.conftest import digest
from tests.unit.malformed import MALFORMED

IN_AZURE = {"WEBSITE_SITE_NAME": "app", "WEBSITE_HOSTNAME": "app.azurewebsites.net"}


def test_nothing_set_gives_the_defaults() -> None:
    settings = load_settings({})
    assert settings.problems == ()
    assert not settings.in_azure
    assert settings.model_dump(exclude_none=True) == {
        "in_azure": False,
        "own_url": "http://localhost:7071",
        "own_urls": ("http://localhost:7071",),
        "has_host_storage": False,
        "mcp_server_tokens": {},
        "provider_keys": {},
        "providers": {},
        "malformed": (),
        "problems": (),
        "auth": {"api_keys": {"entries": {}, "faults": {}}},
        "entra": {
            "audiences": (),
            "allowed_clients": (),
            "authority": "https://login.microsoftonline.com",
            "accept_v1_tokens": False,
        },
        "openai": {},
        "azure_openai": {},
        "chat": {},
        "image": {},
        "audio": {},
        "transcription": {},
        "video": {},
        "storage": {
            "container": "media",
            "state_container": "state",
            "path_prefix": "",
            "image_root": "images",
            "audio_root": "audio",
            "video_root": "videos",
            "url_ttl_seconds": 3600,
            "proxy_downloads": False,
        },
        "agent": {"max_turns": 10, "max_history_tokens": 32000},
        "usage": {"limits": {}, "role_limits": {}, "prices": {}},
        "connections": {
            "stdio_commands": {},
            "servers": {},
            "max_tools": 60,
            "encryption_keys": (),
            "allow_private_networks": False,
        },
        "request_deadline_seconds": 200,
        "cors_allowed_origins": (),
        "mcp_allowed_origins": (),
        "otlp": {},
        "log_level": "info",
        "build_id": "dev",
    }


@pytest.mark.parametrize("name", sorted(SETTING_NAMES))
def test_blank_setting_counts_as_unset(name: str) -> None:
    assert load_settings({name: "  "}) == load_settings({})


@pytest.mark.parametrize(("name", "value"), MALFORMED.items())
def test_malformed_setting_is_named_without_its_value(name: str, value: str) -> None:
    settings = load_settings({name: value})
    assert len(settings.problems) == 1
    assert f"The setting {name}" in settings.problems[0]
    assert value not in settings.problems[0]
    assert settings.malformed == (name,)
    sound = {"malformed": (), "problems": ()}
    assert settings.model_copy(update=sound) == load_settings({})


def test_each_malformed_setting_is_listed() -> None:
    assert len(load_settings(MALFORMED).problems) == len(MALFORMED)


NOW = datetime(2026, 12, 1, tzinfo=UTC)


def key_problems(entries: object) -> tuple[str, ...]:
    settings = load_settings({"API_KEYS": json.dumps(entries)})
    assert (settings.problems, settings.malformed) == ((), ())
    return settings.auth.api_keys.problems(NOW)


def test_keys_that_are_no_json_object_stop_the_app() -> None:
    (problem,) = load_settings({"API_KEYS": "{"}).problems
    assert problem == "The setting API_KEYS is not a JSON object."


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("not-a-digest", ".sha256, is not a SHA-256 digest of 64 hex digits"),
        (7, ', is neither a digest nor an object with "sha256"'),
        ({}, ".sha256, is missing"),
        ({"sha256": 5}, ".sha256, is neither a digest nor a list of digests"),
        ({"sha256": []}, ".sha256, must not be empty"),
        (
            {"sha256": digest("x"), "scopes": ["everything"]},
            ".scopes.0, must be",
        ),
        ({"sha256": digest("x"), "scopes": "chat"}, ".scopes, is not a JSON list"),
        ({"sha256": digest("x"), "typo": 1}, ".typo, is not known"),
        ({"sha256": digest("x"), "expires": "soon"}, ".expires, is not a day as 2027-01-31"),
        ({"sha256": digest("x"), "expires": 2027}, ".expires, is not a day as 2027-01-31"),
        ({"sha256": digest("x"), "models": "gpt-6"}, ".models, is not a JSON list"),
        ({"sha256": digest("x"), "models": ["a b"]}, ".models.0, is not the name of a model"),
        (
            {"sha256": digest("x"), "limits": {"usd_per_week": 1}},
            ".limits.usd_per_week, is not known",
        ),
    ],
)
def test_malformed_entry_harms_no_other_and_is_named_without_its_digest(
    entry: object, complaint: str
) -> None:
    entries = {"alice": digest("a"), "bob": entry}
    (problem,) = key_problems(entries)
    assert problem.startswith(f"The setting API_KEYS, entry bob{complaint}")
    assert digest("x") not in problem
    settings = load_settings({"API_KEYS": json.dumps(entries)})
    assert settings.auth.api_keys.entries == {"alice": KeyEntry(sha256=(digest("a"),))}


@pytest.mark.parametrize("name", ["a b", "", "ä", "entra:" + "0" * 8, "a/b", "x" * 129, "a\nb"])
def test_entry_with_a_name_that_no_key_may_have_lets_nobody_in(name: str) -> None:
    (problem,) = key_problems({name: digest("a")})
    assert "has a name that is not 1 to 128 of A-Z a-z 0-9 . _ @ -" in problem


def test_expired_entry_is_named_from_the_day_after_its_last() -> None:
    entries = {
        "over": {"sha256": digest("a"), "expires": "2026-11-30"},
        "today": {"sha256": digest("b"), "expires": "2026-12-01"},
        "moment": {"sha256": digest("c"), "expires": "2026-12-01T01:00:00+01:00"},
    }
    assert key_problems(entries) == (
        "The setting API_KEYS, entry over, expired on 2026-11-30.",
        "The setting API_KEYS, entry moment, expired on 2026-12-01T01:00:00+01:00.",
    )


def test_keys_are_read_in_all_forms() -> None:
    whole = {
        "sha256": [digest("b"), digest("c").upper()],
        "scopes": ["chat", "act-as"],
        "expires": "2027-01-31",
        "models": ["gpt-6-*", "o9"],
        "limits": {"requests_per_day": 40, "usd_per_month": 5},
    }
    settings = load_settings(
        {"API_KEYS": json.dumps({"plain": digest("a").upper(), "whole": whole})}
    )
    assert settings.problems == ()
    keys = settings.auth.api_keys
    assert keys.faults == {}
    assert keys.entries == {
        "plain": KeyEntry(sha256=(digest("a"),)),
        "whole": KeyEntry(
            sha256=(digest("b"), digest("c")),
            scopes=frozenset({"chat", "act-as"}),
            expires="2027-01-31",
            models=("gpt-6-*", "o9"),
            limits=Limits(requests_per_day=40, usd_per_month=5),
        ),
    }
    assert keys.entries["plain"].scopes == {"chat", "tools", "connections", "openai"}


def test_openai_model_is_another_name_of_the_chat_model() -> None:
    assert load_settings({"OPENAI_MODEL": "m"}).chat.model == "m"
    both = {"OPENAI_MODEL": "m", "OPENAI_CHAT_MODEL": "c"}
    assert load_settings(both).chat.model == "c"


def test_lists_of_origins_are_split() -> None:
    settings = load_settings({"CORS_ALLOWED_ORIGINS": " https://a.example/, http://b.example:1 ,"})
    assert settings.cors_allowed_origins == ("https://a.example", "http://b.example:1")


def test_settings_do_not_show_secrets() -> None:
    settings = load_settings({"OPENAI_API_KEY": "sk-secret", "MCP_API_KEY": "hunter2"})
    assert settings.openai.api_key == SecretStr("sk-secret")
    assert "sk-secret" not in repr(settings)
    assert "hunter2" not in repr(settings)


def test_azure_takes_no_insecure_endpoint() -> None:
    insecure = {"WEBSITE_SITE_NAME": "app", "OPENAI_BASE_URL": "HTTP://10.0.0.4/v1"}
    settings = load_settings(insecure)
    assert settings.in_azure
    assert settings.problems == ("The setting OPENAI_BASE_URL must begin with https:// in Azure.",)
    assert settings.openai.base_url is None


def test_core_tools_is_not_azure() -> None:
    environ = {"WEBSITE_SITE_NAME": "app", "FUNCTIONS_CORETOOLS_ENVIRONMENT": "1"}
    assert not load_settings(environ).in_azure


@pytest.mark.parametrize(
    ("environ", "has_storage"),
    [
        ({"AzureWebJobsStorage": "UseDevelopmentStorage=true"}, True),
        ({"AzureWebJobsStorage": "  "}, False),
        (IN_AZURE, True),
    ],
)
def test_host_has_storage_for_timers_in_azure_and_where_it_is_set(
    environ: dict[str, str], has_storage: bool
) -> None:
    assert load_settings(environ).has_host_storage is has_storage


def test_secret_that_azure_could_not_read_is_no_key() -> None:
    reference = "@Microsoft.KeyVault(SecretUri=https://kv.example/secrets/mcp-api-key)"
    servers = '{"docs": {"url": "https://docs.example", "bearer_token_setting": "DOCS_TOKEN"}}'
    settings = load_settings(
        {"MCP_API_KEY": reference, "DOCS_TOKEN": reference, "MCP_SERVERS": servers}
    )
    assert (settings.auth.mcp_api_key, settings.mcp_server_tokens) == (None, {})
    names = [problem.split()[2] for problem in settings.problems]
    assert names == ["MCP_API_KEY", "DOCS_TOKEN"]
    assert "kv.example" not in str(settings.problems)


def test_one_key_under_two_names_lets_neither_in() -> None:
    entries = {"a": digest("k"), "b": {"sha256": digest("k").upper()}, "c": digest("c")}
    problems = key_problems(entries)
    assert [problem.split(",")[1] for problem in problems] == [" entry a", " entry b"]
    assert all("a key that another name has too" in problem for problem in problems)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("api.example.com", "write it as https://HOST/PATH"),
        ("https://api.example.com/mcp", "has a path"),
        ("http://api.example.com", "must begin with https:// in Azure"),
    ],
)
def test_public_base_url_that_callers_could_not_use_is_refused(value: str, problem: str) -> None:
    settings = load_settings({**IN_AZURE, "PUBLIC_BASE_URL": value})
    assert "The setting PUBLIC_BASE_URL" in settings.problems[0]
    assert problem in settings.problems[0]
    assert settings.own_url == f"https://{IN_AZURE['WEBSITE_HOSTNAME']}"


def test_app_is_reached_by_its_public_base_url_where_one_is_set() -> None:
    settings = load_settings({**IN_AZURE, "PUBLIC_BASE_URL": "https://api.example.com/"})
    assert settings.problems == ()
    assert settings.own_url == "https://api.example.com"
    assert settings.own_urls == ("https://api.example.com", "https://app.azurewebsites.net")


@pytest.mark.parametrize(
    ("url", "environ", "complaint"),
    [
        (
            "http://docs.example/mcp",
            {},
            "must begin with https://, unless CONNECTIONS_ALLOW_PRIVATE_NETWORKS is true.",
        ),
        ("https://10.0.0.7/mcp", {}, "has a private address, which may not be called, unless"),
        ("https://localhost:8443/mcp", {}, "has a loopback address, which may not be called"),
        ("https://0x7f.1/mcp", {}, "has a loopback address, which may not be called"),
        ("https://[fd12::1]/mcp", {}, "has a private address, which may not be called"),
        ("https://[::ffff:10.0.0.7]/mcp", {}, "has a private address, which may not be called"),
        (
            "http://169.254.169.254/mcp",
            {"CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true"},
            "has a link-local address, which may not be called.",
        ),
        (
            "http://127.0.0.1:7071/mcp",
            {"CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true"},
            "is the address of this app, whose tools chats have without it.",
        ),
        (
            "http://localhost:7000/mcp",
            {"CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true", "WEBSITE_HOSTNAME": "localhost:7000"},
            "is the address of this app",
        ),
        ("https://app.azurewebsites.net/mcp", IN_AZURE, "is the address of this app"),
        (
            "https://app.azurewebsites.net/mcp",
            {**IN_AZURE, "PUBLIC_BASE_URL": "https://api.example.com"},
            "is the address of this app",
        ),
        (
            "https://API.example.com/mcp",
            {**IN_AZURE, "PUBLIC_BASE_URL": "https://api.example.com"},
            "is the address of this app",
        ),
    ],
)
def test_server_that_could_not_be_called_is_a_malformed_setting(
    url: str, environ: dict[str, str], complaint: str
) -> None:
    servers = {"docs": {"url": url, "bearer_token_setting": "DOCS_TOKEN"}}
    settings = load_settings({**environ, "MCP_SERVERS": json.dumps(servers), "DOCS_TOKEN": "t"})
    (problem,) = settings.problems
    assert problem.startswith(f"The setting MCP_SERVERS, entry docs.url, {complaint}")
    assert settings.malformed == ("MCP_SERVERS",)
    assert (settings.connections.servers, settings.mcp_server_tokens) == ({}, {})


def test_servers_at_private_addresses_are_fit_where_these_are_allowed() -> None:
    servers = {"docs": {"url": "http://10.0.0.7/mcp"}, "local": {"url": "http://localhost:9000"}}
    environ = {"CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true", "MCP_SERVERS": json.dumps(servers)}
    settings = load_settings(environ)
    assert (settings.problems, list(settings.connections.servers)) == ((), ["docs", "local"])


@pytest.mark.parametrize(
    "url", ["https://docs.example:99999", "https://docs.example:x", "https://["]
)
def test_url_that_cannot_be_read_is_a_malformed_setting(url: str) -> None:
    (problem,) = load_settings({"MCP_SERVERS": json.dumps({"docs": {"url": url}})}).problems
    assert "entry docs.url, is not a URL: write it as https://HOST/PATH" in problem


def test_build_is_the_packages_unless_a_setting_overrides_it() -> None:
    assert load_settings({}).build_id == __build__
    assert load_settings({"BUILD_ID": "abc"}).build_id == "abc"


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("MCP_SERVERS", '{"docs": "https://docs.example"}', "entry docs, is not a JSON object."),
        ("MCP_SERVERS", '{"docs": {}}', "entry docs.url, is missing."),
        ("LIMITS", '{"budget": 5}', "entry budget, is not known."),
        ("LIMITS", '{"requests_per_day": "5"}', "entry requests_per_day, is not a whole number."),
        ("LIMITS", '{"usd_per_day": true}', "entry usd_per_day, is not a number."),
        (
            "LIMITS",
            '{"usd_per_day": -1}',
            "entry usd_per_day, must be at least 0.",
        ),
        (
            "LIMITS",
            '{"parallel": 0}',
            "entry parallel, must be at least 1.",
        ),
        ("PRICES", '{"m": 5}', "entry m, is not a JSON object."),
        ("PRICES", '{"m": {"inputs": 5}}', "entry m.inputs, is not known."),
        ("MCP_STDIO_COMMANDS", '{"docs": "npx"}', "entry docs, is not a JSON list."),
        ("MCP_STDIO_COMMANDS", '{"docs": [7]}', "entry docs.0, is not a string."),
    ],
)
def test_complaints_are_in_the_words_of_operators(name: str, value: str, complaint: str) -> None:
    (problem,) = load_settings({name: value}).problems
    assert problem == f"The setting {name}, {complaint}"


def test_limits_and_prices_are_read_from_json() -> None:
    settings = load_settings(
        {
            "LIMITS": '{"requests_per_day": 40, "usd_per_month": 12.5}',
            "PRICES": '{"my-gpt": {"input": 1, "output": 2.5}}',
        }
    )
    assert settings.problems == ()
    assert settings.usage.limits == Limits(requests_per_day=40, usd_per_month=12.5)
    assert settings.usage.prices == {"my-gpt": ModelPrice(input=1, output=2.5)}
    assert not load_settings({}).usage.limits


def test_strangers_are_told_names_of_settings_only() -> None:
    settings = load_settings({"MCP_SERVERS": '{"alice": 7}', "LOG_LEVEL": "loud"})
    assert settings.malformed == ("MCP_SERVERS", "LOG_LEVEL")
    assert settings.public_problems == tuple(
        f"The setting {name} is malformed. GET /health with a key and the app's log say why."
        for name in settings.malformed
    )


@pytest.mark.parametrize("name", ["MCP_API_KEY", "MCP_SERVER_API_KEY"])
def test_short_key_is_malformed_in_azure_only(name: str) -> None:
    assert load_settings({name: "x" * 19}).problems == ()
    assert load_settings({**IN_AZURE, name: "x" * 20}).problems == ()
    settings = load_settings({**IN_AZURE, name: "x" * 19})
    (problem,) = settings.problems
    assert problem.startswith(f"The setting {name} must have at least 20 characters in Azure")
    assert (settings.auth.mcp_api_key, settings.auth.mcp_server_api_key) == (None, None)

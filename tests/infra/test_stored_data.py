"""How long data is kept, who may read it, and what can be had back."""

from typing import Any

import pytest

from tests.infra.bicep import Resource
from tests.infra.deployed import PROJECT, app_settings, expand, only


def blob_service(resources: list[Resource], start: str = "stdata") -> Any:
    (found,) = (
        each.body()["properties"]
        for each in resources
        if each.type.endswith("/blobServices") and each.name.startswith(start)
    )
    return found


@pytest.mark.parametrize(
    ("days", "policy"), [(0, {"enabled": False}), (14, {"enabled": True, "days": 14})]
)
def test_operator_chooses_how_long_deleted_data_can_be_had_back(
    days: int, policy: dict[str, Any]
) -> None:
    service = blob_service(expand(softDeleteDays=days)[1])
    assert service["deleteRetentionPolicy"] == policy
    assert service["containerDeleteRetentionPolicy"] == policy


def deletion_rules(**given: Any) -> dict[str, tuple[int, list[str]]]:
    policy = only(expand(**given)[1], "Microsoft.Storage/storageAccounts/managementPolicies")
    return {
        rule["name"]: (
            rule["definition"]["actions"]["baseBlob"]["delete"]["daysAfterModificationGreaterThan"],
            rule["definition"]["filters"]["prefixMatch"],
        )
        for rule in policy["properties"]["policy"]["rules"]
        if "delete" in rule["definition"]["actions"]["baseBlob"]
    }


def test_data_is_deleted_after_the_days_of_its_kind_and_kept_where_none_are_given() -> None:
    assert list(deletion_rules()) == ["delete-old-idempotency-records"]
    rules = deletion_rules(mediaRetentionDays=1, conversationRetentionDays=2, usageRetentionDays=3)
    assert rules == {
        "delete-old-media": (1, ["media/", "state/media/"]),
        "delete-old-conversations": (2, ["state/conversations/", "state/conversation-parts/"]),
        "delete-old-usage": (3, ["state/usage/"]),
        "delete-old-idempotency-records": (2, ["state/idempotency/", "state/mcp-tasks/"]),
    }


@pytest.mark.parametrize(
    "folder", ["conversations", "conversation-parts", "media", "idempotency", "mcp-tasks"]
)
def test_rules_name_the_folders_that_the_code_writes(folder: str) -> None:
    code = "".join(path.read_text() for path in (PROJECT / "shared").rglob("*.py"))
    assert f'f"{folder}/{{' in code
    rules = deletion_rules(mediaRetentionDays=1, conversationRetentionDays=2)
    assert f"state/{folder}/" in [prefix for _, prefixes in rules.values() for prefix in prefixes]


def test_app_streams_media_where_nothing_else_can() -> None:
    def proxied(**settings: str) -> str:
        given = {"privateNetworking": True, "mediaLinksFromInternet": False}
        return app_settings(expand(**given, settings=settings)[1])["MEDIA_PROXY_DOWNLOADS"]

    assert proxied() == "true"
    # The app refuses both at once.
    assert proxied(AZURE_BLOB_PUBLIC_BASE_URL="https://cdn.example.com/media") == "false"


def test_conversations_are_deleted_although_they_are_append_blobs() -> None:
    policy = only(
        expand(conversationRetentionDays=2)[1],
        "Microsoft.Storage/storageAccounts/managementPolicies",
    )
    (rule,) = (
        rule
        for rule in policy["properties"]["policy"]["rules"]
        if rule["name"] == "delete-old-conversations"
    )
    assert "appendBlob" in rule["definition"]["filters"]["blobTypes"]


@pytest.mark.parametrize(
    ("setting", "origins"),
    [
        (
            "https://a.example.com, https://b.example.com/",
            ["https://a.example.com", "https://b.example.com"],
        ),
        ("*", ["*"]),
    ],
)
def test_browsers_of_the_app_s_origins_may_read_media_from_the_storage_account(
    setting: str, origins: list[str]
) -> None:
    _, resources = expand(settings={"CORS_ALLOWED_ORIGINS": setting})
    assert app_settings(resources)["CORS_ALLOWED_ORIGINS"] == setting
    (rule,) = blob_service(resources)["cors"]["corsRules"]
    assert rule["allowedOrigins"] == origins
    assert rule["allowedMethods"] == ["GET", "HEAD", "OPTIONS"]
    assert blob_service(expand()[1])["cors"]["corsRules"] == []


def test_deleted_key_vault_can_be_brought_back() -> None:
    def mode(**given: Any) -> Any:
        return only(expand(**given)[1], "Microsoft.KeyVault/vaults")["properties"]["createMode"]

    assert (mode(), mode(recoverKeyVault=True)) == ("default", "recover")

"""The identity that Azure services know the app by; importing this module imports nothing of Azure."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential


def open_credential(*, in_azure: bool, client_id: str | None) -> "AsyncTokenCredential":
    """Opens the managed identity, or the developer's login on a developer's machine.

    Args:
        in_azure: Whether a managed identity is there.
        client_id: The user-assigned identity; None for the system-assigned one.
    """
    from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential

    if in_azure:
        return ManagedIdentityCredential(client_id=client_id)
    return DefaultAzureCredential(exclude_managed_identity_credential=True)

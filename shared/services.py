"""What the doors have in common: the services and the tools made of them."""

from dataclasses import dataclass

from shared.connections import (
    CLIENT_METADATA_PATH,
    Connections,
    ConnectionsConfig,
    OperatorServer,
)
from shared.conversations import ConversationStore
from shared.media_parts import MediaParts
from shared.openai_service import OpenAIService
from shared.outbound import Downloads
from shared.selection import ToolSelector
from shared.settings import Settings
from shared.storage import (
    IdempotencyStore,
    MediaStore,
    Storage,
)
from shared.timing import Timing
from shared.tools import (
    Claims,
    ClockTools,
    ImageTools,
    ModelTools,
    SpeechTools,
    TaskTools,
    TextTools,
    ToolRegistry,
    VideoCopies,
    VideoJobs,
    VideoTools,
)
from shared.usage import Ledger, Prices, Reports


@dataclass(frozen=True, slots=True)
class Services:
    """Everything below the doors; nothing of it is opened before its first use.

    Attributes:
        openai: The providers.
        storage: The containers.
        media: Pictures, clips, videos and documents.
        media_parts: Files in messages.
        conversations: The conversations.
        claims: Claims of calls by their idempotency keys.
        video_jobs: Video jobs.
        downloads: Fetches files that providers return as URLs.
        tools: Our own tools.
        connections: Connections to other MCP servers.
        selector: Selects the tools that a caller has.
    """

    openai: OpenAIService
    storage: Storage
    media: MediaStore
    media_parts: MediaParts
    conversations: ConversationStore
    claims: Claims
    video_jobs: VideoJobs
    downloads: Downloads
    tools: ToolRegistry
    connections: Connections
    selector: ToolSelector
    ledger: Ledger
    reports: Reports

    @classmethod
    def make(
        cls, settings: Settings, *, serves_links: bool = True, timing: Timing | None = None
    ) -> "Services":
        """Makes the services; a new family of tools is added here.

        Args:
            settings: The settings.
            serves_links: Whether the app's own routes can be reached.
            timing: How long leases, pauses and waits are.
        """
        storage = Storage(settings, serves_links=serves_links, timing=timing)
        ledger = Ledger(storage, Prices(settings.usage.prices), settings.usage.limits)
        openai = OpenAIService(settings, timing, ledger)
        media = MediaStore(storage, settings)
        idempotency = IdempotencyStore(storage)
        claims = Claims(idempotency, media)
        downloads = Downloads(allow_private=settings.connections.allow_private_networks)
        media_parts = MediaParts(media, downloads, is_storing=storage.is_configured)
        copies = VideoCopies(openai, media, idempotency, downloads)
        jobs = VideoJobs(openai, storage, media, copies)
        families = [
            TextTools(openai, media_parts, settings.openai.temperature),
            ImageTools(openai, media, downloads),
            SpeechTools(openai, media),
            VideoTools(openai, media, jobs),
            TaskTools(storage),
            ModelTools(openai),
            ClockTools(),
        ]
        tools = ToolRegistry(families, claims)
        connections = Connections(_connections_config(settings), storage.state, timing=timing)
        return cls(
            openai=openai,
            storage=storage,
            media=media,
            media_parts=media_parts,
            conversations=ConversationStore(storage, media),
            claims=claims,
            video_jobs=jobs,
            downloads=downloads,
            tools=tools,
            connections=connections,
            selector=ToolSelector(tools, connections, settings.connections.max_tools),
            ledger=ledger,
            reports=Reports(storage, ledger),
        )

    async def aclose(self) -> None:
        """Waits for detached calls, then closes all connections."""
        await self.claims.aclose()
        await self.connections.aclose()
        await self.downloads.aclose()
        await self.openai.aclose()
        await self.ledger.aclose()
        await self.storage.aclose()


def _connections_config(settings: Settings) -> ConnectionsConfig:
    servers = {}
    for name, server in settings.connections.servers.items():
        token = settings.mcp_server_tokens.get(name)
        secret = token.get_secret_value() if token else None
        is_per_user = server.auth == "per-user"
        servers[name] = OperatorServer(
            server.url,
            None if is_per_user else secret,
            is_per_user=is_per_user,
            client_id=server.client_id,
            client_secret=secret if is_per_user else None,
            scopes=server.scopes,
        )
    return ConnectionsConfig(
        allow_private=settings.connections.allow_private_networks,
        stdio_commands=settings.connections.stdio_commands,
        operator_servers=servers,
        encryption_keys=[key.get_secret_value() for key in settings.connections.encryption_keys],
        generates_key=not settings.in_azure,
        client_metadata_url=(
            f"{settings.own_url}{CLIENT_METADATA_PATH}" if settings.in_azure else None
        ),
        own_urls=settings.own_urls,
    )

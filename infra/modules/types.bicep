// The types of main.bicep's parameters. The names in capitals are the app's own settings: docs/settings.md
// describes them, and tests/infra compares these lists with what the code reads.

@export()
@description('The keys of all callers by name, each with its digest or digests, never the key: an object with sha256 and, where wanted, scopes, expires, models and limits. infra/new_key.py makes one.')
type ApiKeys = {
  @description('The keys of this caller.')
  *: object
}

@export()
@description('A model deployment of Azure OpenAI, and what the app uses it for.')
@sealed()
type ModelDeployment = {
  @description('What the app uses it for; one deployment for each.')
  capability: 'chat' | 'image' | 'audio' | 'transcription' | 'video'

  @description('Name of the deployment.')
  name: string

  @description('The model.')
  model: string

  @description('Version of the model; without it the default of the region.')
  version: string?

  @description('Where requests are processed and how they are billed, such as GlobalStandard.')
  sku: string

  @description('Quota, in thousands of tokens or in requests per minute, as the model counts.')
  @minValue(1)
  capacity: int
}

@export()
@description('A monthly budget with warnings by e-mail.')
@sealed()
type Budget = {
  @description('Amount for each month, in the currency of the subscription.')
  @minValue(1)
  amount: int

  @description('First day of a month, yyyy-MM-dd. Azure refuses to change it later.')
  startDate: string
}

@export()
@description('Subnets of a network that exists already.')
@sealed()
type ExistingNetwork = {
  @description('Resource id of the subnet of the app: /27 or larger, delegated to Microsoft.App/environments, used by nothing else.')
  appSubnetId: string

  @description('Resource id of the subnet of the private endpoints.')
  endpointSubnetId: string
}

@export()
@description('Resource ids of private DNS zones that exist already and are linked to the network. A policy of the organisation registers what is left out.')
@sealed()
type ExistingDnsZones = {
  @description('The zone of Blob Storage.')
  blob: string?

  @description('The zone of Table Storage.')
  table: string?

  @description('The zone of Azure OpenAI.')
  openAi: string?
}

@export()
@description('A Log Analytics workspace that exists already.')
@sealed()
type ExistingWorkspace = {
  @description('Resource id.')
  id: string

  @description('Region.')
  location: string
}

@export()
@description('Instances that never scale in.')
@sealed()
type AlwaysReady = {
  @description('http: all HTTP functions. The timer needs none: the platform starts an instance for it.')
  name: 'http'

  @description('How many.')
  @minValue(1)
  instanceCount: int
}

@export()
@description('Settings of the app whose value is a secret of the key vault.')
type SecretSetting =
  | 'AZURE_OPENAI_API_KEY'
  | 'CONNECTIONS_ENCRYPTION_KEY'
  | 'GEMINI_API_KEY'
  | 'MCP_API_KEY'
  | 'OPENAI_API_KEY'
  | 'OPENAI_AUDIO_API_KEY'
  | 'OPENAI_CHAT_API_KEY'
  | 'OPENAI_IMAGE_API_KEY'
  | 'OPENAI_TRANSCRIPTION_API_KEY'
  | 'OPENAI_VIDEO_API_KEY'
  | 'OTEL_EXPORTER_OTLP_HEADERS'

@export()
@description('Settings of the app that an operator may choose. What is left out keeps its default.')
@sealed()
type OptionalSettings = {
  ALLOWED_MODELS: string?
  AZURE_BLOB_AUDIO_ROOT: string?
  AZURE_BLOB_IMAGE_ROOT: string?
  AZURE_BLOB_PATH_PREFIX: string?
  AZURE_BLOB_PUBLIC_BASE_URL: string?
  AZURE_BLOB_VIDEO_ROOT: string?
  AZURE_OPENAI_API_VERSION: string?
  AZURE_OPENAI_TOKEN_SCOPE: string?
  @minValue(100)
  CHAT_MAX_HISTORY_TOKENS: int?
  @minValue(1)
  @maxValue(50)
  CHAT_MAX_TURNS: int?
  CHAT_SYSTEM_PROMPT: string?
  CONNECTIONS_ALLOW_PRIVATE_NETWORKS: bool?
  CORS_ALLOWED_ORIGINS: string?
  ENTRA_ACCEPT_V1_TOKENS: bool?
  ENTRA_ALLOWED_CLIENTS: string?
  ENTRA_AUDIENCES: string?
  ENTRA_AUTHORITY: string?
  ENTRA_CLIENT_ID: string?
  ENTRA_TENANT_ID: string?
  LIMITS: object?
  LOG_LEVEL: ('debug' | 'info' | 'warning' | 'error')?
  MCP_ALLOWED_ORIGINS: string?
  @minValue(0)
  @maxValue(1000)
  MCP_MAX_TOOLS: int?
  MCP_SERVERS: object?
  MCP_STDIO_COMMANDS: object?
  @minValue(1)
  @maxValue(518400)
  MEDIA_URL_TTL_SECONDS: int?
  OPENAI_AUDIO_BASE_URL: string?
  OPENAI_AUDIO_MODEL: string?
  OPENAI_BASE_URL: string?
  OPENAI_CHAT_BASE_URL: string?
  OPENAI_CHAT_MODEL: string?
  OPENAI_IMAGE_BASE_URL: string?
  OPENAI_IMAGE_MODEL: string?
  OPENAI_ORGANIZATION: string?
  OPENAI_PROJECT: string?
  OPENAI_TEMPERATURE: string?
  OPENAI_TRANSCRIPTION_BASE_URL: string?
  OPENAI_TRANSCRIPTION_MODEL: string?
  OPENAI_VIDEO_BASE_URL: string?
  OPENAI_VIDEO_MODEL: string?
  OTEL_EXPORTER_OTLP_ENDPOINT: string?
  PRICES: object?
  PROVIDERS: object?
  PUBLIC_BASE_URL: string?
  @minValue(1)
  @maxValue(230)
  REQUEST_DEADLINE_SECONDS: int?
  ROLE_LIMITS: object?
}

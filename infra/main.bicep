// The whole deployment, into one resource group: function app, identity, storage, models, key vault,
// monitoring, alerts, and where wanted a virtual network. docs/deploy.md says how to use it.
// API versions are those that the resources were written and checked against; newer ones would add nothing that is
// used here. From 2025-07-01 on Microsoft.Network makes new subnets private unless they say otherwise.

targetScope = 'resourceGroup'

import {
  AlwaysReady
  ApiKeys
  Budget
  ExistingDnsZones
  ExistingNetwork
  ExistingWorkspace
  ModelDeployment
  OptionalSettings
  SecretSetting
} from 'modules/types.bicep'

// ---------------------------------------------------------------- what and where

@description('Part of the name of every resource.')
@minLength(2)
@maxLength(10)
param workload string = 'oaimcp'

@description('Changes the names of all resources, where the old ones cannot be used: a deleted key vault keeps its name for days. Nothing is moved to the new ones.')
@maxLength(10)
param nameSuffix string = ''

@description('Region of everything but the models.')
param location string = resourceGroup().location

@description('Tags of every resource.')
param tags object = {}

// ---------------------------------------------------------------- who may call

@description('Keys of callers, as digests, in the long form of API_KEYS. Without any the app answers 503.')
param apiKeys ApiKeys = {}

@description('Digest of the key of the smoke test, where it is not among apiKeys; empty for none.')
param smokeKeySha256 string = ''

@description('Principal that may write secrets into the key vault; empty for none.')
param operatorPrincipalId string = ''

// ---------------------------------------------------------------- models

@description('create: an Azure OpenAI account and its deployments. existing: one that there is already, at openAiEndpoint. none: another provider, by its key in the key vault.')
param azureOpenAi 'create' | 'existing' | 'none' = 'create'

@description('Endpoint of the existing Azure OpenAI account, such as https://NAME.openai.azure.com.')
param openAiEndpoint string = ''

@description('Region of the Azure OpenAI account.')
param openAiLocation string = location

@description('Model deployments, to be created, or existing ones to be used.')
param modelDeployments ModelDeployment[] = []

// ---------------------------------------------------------------- settings of the app

@description('Settings of the app that differ from their defaults.')
param settings OptionalSettings = {}

@description('Settings of the app whose value is in the key vault; OPENAI_API_KEY is its secret openai-api-key. Name only those that have been put there.')
param secretSettings SecretSetting[] = []

@description('Further secrets by the names that bearer_token_setting of MCP_SERVERS and key_setting of PROVIDERS use.')
param connectionTokens string[] = []

// ---------------------------------------------------------------- size

@description('Memory of an instance in MB.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('Most instances at a time, which bounds what a rush, or an attack, can cost. The platform may go beyond it for moments.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Requests that one instance answers at a time.')
@minValue(1)
@maxValue(1000)
param httpConcurrency int = 50

@description('Instances that never scale in; they cost money while idle and answer without a cold start.')
param alwaysReady AlwaysReady[] = []

@description('How instances are replaced when code or settings change. Recreate cuts what runs. RollingUpdate lets it end, is a preview, and needs more than one instance to leave no gap.')
param siteUpdateStrategy 'Recreate' | 'RollingUpdate' = 'Recreate'

@description('Whether app and storage survive the loss of a zone.')
param zoneRedundant bool = false

// ---------------------------------------------------------------- data

@description('Days in which an operator can bring back deleted blobs: media, conversations and all else, also those that their owners deleted; 0 for none. It comes on top of the days below.')
@minValue(0)
@maxValue(365)
param softDeleteDays int = 7

@description('Days after which media are deleted; 0 keeps them.')
@minValue(0)
param mediaRetentionDays int = 0

@description('Days after which media move to the cool tier.')
@minValue(1)
param mediaCoolingDays int = 30

@description('Days without a new message after which a conversation is deleted; 0 keeps them.')
@minValue(0)
param conversationRetentionDays int = 0

@description('Days after which records of usage are deleted; 0 keeps them. Limits for each month need 32.')
@minValue(0)
param usageRetentionDays int = 0

@description('Days in which an Idempotency-Key returns the first result.')
@minValue(1)
param idempotencyRetentionDays int = 2

@description('Whether nobody can purge a deleted key vault before its time. It cannot be switched off again.')
param purgeProtection bool = true

@description('For one deployment: brings back a deleted key vault of this name, with its secrets.')
param recoverKeyVault bool = false

// ---------------------------------------------------------------- network

@description('Whether storage and models are reached by private endpoints only. The app itself stays public.')
param privateNetworking bool = false

@description('With private networking: whether signed links to media still open from the Internet.')
param mediaLinksFromInternet bool = true

@description('With private networking: address space of the network, /24 or larger.')
param networkAddressPrefix string = '10.20.0.0/24'

@description('With private networking: whether the app calls others by a NAT gateway, and so from one address.')
param natGateway bool = false

@description('With private networking: subnets to use instead of an own network, which then has its own way out.')
param existingNetwork ExistingNetwork?

@description('With private networking: private DNS zones to use instead of own ones.')
param existingDnsZones ExistingDnsZones?

// ---------------------------------------------------------------- watch

@description('Workspace to use instead of an own one. It keeps its own retention and quota.')
param existingWorkspace ExistingWorkspace?

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('Gigabytes of logs that a day may bring; -1 for no limit.')
param logDailyQuotaGb int = 1

@description('Whether the log of host and app is kept as FunctionAppLogs too, for when Application Insights gets nothing.')
param hostLogs bool = true

@description('Places that call /health every five minutes, by the names of Application Insights; empty for no availability test.')
param availabilityTestLocations string[] = []

@description('Addresses that get alerts and budget warnings.')
param alertEmails string[] = []

@description('Responses with status 500 or 503 in 15 minutes that raise no alert yet.')
@minValue(0)
param alertFailures int = 5

@description('Seconds that the 95th percentile of the requests may take.')
@minValue(1)
param alertLatencySeconds int = 60

@description('Responses with status 429 in 15 minutes that raise no alert yet.')
@minValue(0)
param alertThrottled int = 20

@description('Responses with status 502 or 504 in 15 minutes that raise no alert yet.')
@minValue(0)
param alertProviderErrors int = 5

@description('Monthly budget; it needs alertEmails. Without it there is none.')
param budget Budget?

// ---------------------------------------------------------------- names

var token = uniqueString(resourceGroup().id, nameSuffix)
var baseName = '${toLower(workload)}-${token}'
var identityName = 'id-${baseName}'
var createsOpenAi = azureOpenAi == 'create'

// A zone answers for all names below it: one for a service that gets no private endpoint here would hide the
// accounts that others have.
var dnsZoneNames = concat(
  [
    'privatelink.blob.${environment().suffixes.storage}'
    'privatelink.table.${environment().suffixes.storage}'
  ],
  createsOpenAi ? ['privatelink.openai.azure.com'] : []
)
var createsNetwork = privateNetworking && existingNetwork == null
var createsDnsZones = privateNetworking && existingDnsZones == null

// ---------------------------------------------------------------- identity and monitoring

module identity 'modules/identity.bicep' = {
  name: 'identity'
  params: {
    name: identityName
    location: location
    tags: tags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  params: {
    workspaceName: 'log-${baseName}'
    existingWorkspace: existingWorkspace
    insightsName: 'appi-${baseName}'
    location: location
    tags: tags
    retentionDays: logRetentionDays
    dailyQuotaGb: logDailyQuotaGb
    senderPrincipalId: identity.outputs.principalId
    senderIdentityName: identityName
  }
}

// ---------------------------------------------------------------- storage, models, secrets

module hostStorage 'modules/host-storage.bicep' = {
  name: 'host-storage'
  params: {
    name: 'sthost${token}'
    location: location
    tags: tags
    zoneRedundant: zoneRedundant
    publicNetworkAccess: !privateNetworking
    appPrincipalId: identity.outputs.principalId
    appIdentityName: identityName
    workspaceId: monitoring.outputs.workspaceId
  }
}

// The origins that the app itself allows, read as it reads them: its links to media lead to the storage account.
var givenOrigins = map(split(settings.?CORS_ALLOWED_ORIGINS ?? '', ','), origin => trim(origin))
var corsOrigins = map(
  filter(givenOrigins, origin => !empty(origin)),
  origin => endsWith(origin, '/') ? take(origin, length(origin) - 1) : origin
)

module dataStorage 'modules/data-storage.bicep' = {
  name: 'data-storage'
  params: {
    name: 'stdata${token}'
    location: location
    tags: tags
    zoneRedundant: zoneRedundant
    publicNetworkAccess: !privateNetworking || mediaLinksFromInternet
    softDeleteDays: softDeleteDays
    corsOrigins: corsOrigins
    mediaRetentionDays: mediaRetentionDays
    mediaCoolingDays: mediaCoolingDays
    conversationRetentionDays: conversationRetentionDays
    usageRetentionDays: usageRetentionDays
    idempotencyRetentionDays: idempotencyRetentionDays
    appPrincipalId: identity.outputs.principalId
    appIdentityName: identityName
    workspaceId: monitoring.outputs.workspaceId
  }
}

module openAi 'modules/openai.bicep' = if (createsOpenAi) {
  name: 'openai'
  params: {
    name: 'oai-${baseName}'
    location: openAiLocation
    tags: tags
    deployments: modelDeployments
    publicNetworkAccess: !privateNetworking
    appPrincipalId: identity.outputs.principalId
    appIdentityName: identityName
    workspaceId: monitoring.outputs.workspaceId
  }
}

module keyVault 'modules/key-vault.bicep' = {
  name: 'key-vault'
  params: {
    name: take('kv-${token}', 24)
    location: location
    tags: tags
    purgeProtection: purgeProtection
    recover: recoverKeyVault
    appPrincipalId: identity.outputs.principalId
    appIdentityName: identityName
    operatorPrincipalId: operatorPrincipalId
    workspaceId: monitoring.outputs.workspaceId
  }
}

// ---------------------------------------------------------------- network

module network 'modules/network.bicep' = if (createsNetwork) {
  name: 'network'
  params: {
    name: 'vnet-${baseName}'
    location: location
    tags: tags
    addressPrefix: networkAddressPrefix
    natGateway: natGateway
  }
}

var appSubnetId = createsNetwork ? network!.outputs.appSubnetId : (privateNetworking ? existingNetwork!.appSubnetId : '')
var endpointSubnetId = createsNetwork
  ? network!.outputs.endpointSubnetId
  : (privateNetworking ? existingNetwork!.endpointSubnetId : '')

module dnsZones 'modules/private-dns.bicep' = if (createsDnsZones) {
  name: 'private-dns'
  params: {
    zoneNames: dnsZoneNames
    linkName: 'link-${baseName}'
    networkId: first(split(appSubnetId, '/subnets/'))
    tags: tags
  }
}

module hostStorageEndpoint 'modules/private-endpoint.bicep' = if (privateNetworking) {
  name: 'host-storage-endpoint'
  params: {
    name: 'pe-host-${baseName}'
    location: location
    tags: tags
    subnetId: endpointSubnetId
    targetId: hostStorage.outputs.id
    groupId: 'blob'
    registersName: createsDnsZones || !empty(existingDnsZones.?blob)
    dnsZoneId: createsDnsZones ? dnsZones!.outputs.zoneIds[0] : existingDnsZones.?blob ?? ''
  }
}

module hostTableEndpoint 'modules/private-endpoint.bicep' = if (privateNetworking) {
  name: 'host-table-endpoint'
  params: {
    name: 'pe-events-${baseName}'
    location: location
    tags: tags
    subnetId: endpointSubnetId
    targetId: hostStorage.outputs.id
    groupId: 'table'
    registersName: createsDnsZones || !empty(existingDnsZones.?table)
    dnsZoneId: createsDnsZones ? dnsZones!.outputs.zoneIds[1] : existingDnsZones.?table ?? ''
  }
}

module dataStorageEndpoint 'modules/private-endpoint.bicep' = if (privateNetworking) {
  name: 'data-storage-endpoint'
  params: {
    name: 'pe-data-${baseName}'
    location: location
    tags: tags
    subnetId: endpointSubnetId
    targetId: dataStorage.outputs.id
    groupId: 'blob'
    registersName: createsDnsZones || !empty(existingDnsZones.?blob)
    dnsZoneId: createsDnsZones ? dnsZones!.outputs.zoneIds[0] : existingDnsZones.?blob ?? ''
  }
}

module openAiPrivateEndpoint 'modules/private-endpoint.bicep' = if (privateNetworking && createsOpenAi) {
  name: 'openai-endpoint'
  params: {
    name: 'pe-openai-${baseName}'
    location: location
    tags: tags
    subnetId: endpointSubnetId
    targetId: openAi!.outputs.id
    groupId: 'account'
    registersName: createsDnsZones || !empty(existingDnsZones.?openAi)
    dnsZoneId: createsDnsZones ? dnsZones!.outputs.zoneIds[2] : existingDnsZones.?openAi ?? ''
  }
}

// ---------------------------------------------------------------- settings

var smokeKey = empty(smokeKeySha256)
  ? {}
  : {
      smoke: {
        sha256: smokeKeySha256
        scopes: ['chat', 'tools']
      }
    }
var keys = union(apiKeys, smokeKey)

// Signed links to Blob Storage would open for nobody; a CDN before it has its own way there.
var proxiesMedia = privateNetworking && !mediaLinksFromInternet && empty(settings.?AZURE_BLOB_PUBLIC_BASE_URL)

var ownSettings = {
  API_KEYS: empty(keys) ? '' : string(keys)
  AZURE_BLOB_CONTAINER: dataStorage.outputs.mediaContainerName
  AZURE_BLOB_STATE_CONTAINER: dataStorage.outputs.stateContainerName
  AZURE_CLIENT_ID: identity.outputs.clientId
  AZURE_STORAGE_ACCOUNT_URL: dataStorage.outputs.blobEndpoint
  MEDIA_PROXY_DOWNLOADS: proxiesMedia ? 'true' : 'false'
}

var openAiSettings = azureOpenAi == 'none'
  ? {}
  : {
      AZURE_OPENAI_ENDPOINT: createsOpenAi ? openAi!.outputs.endpoint : openAiEndpoint
    }

// AZURE_OPENAI_CHAT_DEPLOYMENT, AZURE_OPENAI_IMAGE_DEPLOYMENT, AZURE_OPENAI_AUDIO_DEPLOYMENT,
// AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT, AZURE_OPENAI_VIDEO_DEPLOYMENT
var deploymentSettings = toObject(
  azureOpenAi == 'none' ? [] : modelDeployments,
  deployment => 'AZURE_OPENAI_${toUpper(deployment.capability)}_DEPLOYMENT',
  deployment => deployment.name
)

var chosenSettings = toObject(items(settings), setting => setting.key, setting => string(setting.value))

// ---------------------------------------------------------------- the app

module app 'modules/app.bicep' = {
  name: 'app'
  params: {
    name: 'func-${baseName}'
    planName: 'plan-${baseName}'
    location: location
    tags: tags
    zoneRedundant: zoneRedundant
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    httpConcurrency: httpConcurrency
    alwaysReady: alwaysReady
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    hostStorageName: hostStorage.outputs.name
    deploymentContainerUrl: hostStorage.outputs.deploymentContainerUrl
    insightsConnectionString: monitoring.outputs.insightsConnectionString
    settings: union(chosenSettings, openAiSettings, deploymentSettings, ownSettings)
    secretSettings: concat(secretSettings, connectionTokens)
    keyVaultUri: keyVault.outputs.uri
    subnetId: appSubnetId
    siteUpdateStrategy: siteUpdateStrategy
    hostLogs: hostLogs
    workspaceId: monitoring.outputs.workspaceId
  }
  // Without these names the host would not find its storage when it starts.
  dependsOn: [
    hostStorageEndpoint
    hostTableEndpoint
    dataStorageEndpoint
    openAiPrivateEndpoint
  ]
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  params: {
    namePrefix: baseName
    location: monitoring.outputs.workspaceLocation
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    insightsId: monitoring.outputs.insightsId
    emails: alertEmails
    failureThreshold: alertFailures
    latencyThresholdSeconds: alertLatencySeconds
    throttlingThreshold: alertThrottled
    providerErrorThreshold: alertProviderErrors
  }
}

// A custom domain, where there is one.
var publicUrl = empty(settings.?PUBLIC_BASE_URL) ? app.outputs.url : settings.PUBLIC_BASE_URL!

module availability 'modules/availability.bicep' = if (!empty(availabilityTestLocations)) {
  name: 'availability'
  params: {
    name: '${baseName}-availability'
    location: location
    tags: tags
    insightsId: monitoring.outputs.insightsId
    url: publicUrl
    locations: availabilityTestLocations
    actionGroupIds: alerts.outputs.actionGroupIds
  }
}

module monthlyBudget 'modules/budget.bicep' = if (budget != null) {
  name: 'budget'
  params: {
    name: 'budget-${baseName}'
    budget: budget!
    emails: alertEmails
  }
}

// In capitals, because azd puts them into its environment by these names.
@description('Name of the function app: where the package goes.')
output APP_NAME string = app.outputs.name

@description('Where the app answers by its own name, also before a custom domain leads to it.')
output APP_URL string = app.outputs.url

@description('Where MCP clients connect.')
output MCP_URL string = '${publicUrl}/mcp'

@description('Principal of the app, for roles on what this deployment does not create.')
output APP_PRINCIPAL_ID string = identity.outputs.principalId

@description('Key vault for secrets of providers and the encryption key.')
output KEY_VAULT_NAME string = keyVault.outputs.name

@description('Storage account of media, for a CDN before it.')
output DATA_STORAGE_NAME string = dataStorage.outputs.name

@description('Address from which the app calls others, with a NAT gateway of this deployment; else empty.')
output OUTBOUND_ADDRESS string = createsNetwork ? network!.outputs.outboundAddress : ''

@description('What tests/smoke leaves out, because no model is there for it.')
output SMOKE_OPTIONS string = azureOpenAi == 'none' || contains(map(modelDeployments, deployment => deployment.capability), 'image')
  ? ''
  : '--without-images'

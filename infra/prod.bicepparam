using 'main.bicep'

// For work: two instances always ready, zones, private endpoints. Environment variables come from the
// pipeline's variable group, or your shell.

param tags = {
  environment: 'prod'
}

// infra/new_key.py prints the JSON.
param apiKeys = json(readEnvironmentVariable('API_KEYS', '{}'))
param smokeKeySha256 = readEnvironmentVariable('SMOKE_KEY_SHA256', '')
param operatorPrincipalId = readEnvironmentVariable('AZURE_PRINCIPAL_ID', '')

// docs/deploy.md shows how to find out which models and how much quota your region has.
param openAiLocation = readEnvironmentVariable('OPENAI_LOCATION', 'swedencentral')
var chosenModels = readEnvironmentVariable('MODEL_DEPLOYMENTS', '')
var usualModels = [
  {
    capability: 'chat'
    name: 'chat'
    model: 'gpt-6-luna'
    sku: 'GlobalStandard'
    capacity: 200
  }
  {
    capability: 'image'
    name: 'image'
    model: 'gpt-image-2.5-flare'
    sku: 'GlobalStandard'
    capacity: 10
  }
  {
    capability: 'audio'
    name: 'speech'
    model: 'gpt-4o-mini-tts'
    sku: 'GlobalStandard'
    capacity: 10
  }
  {
    capability: 'transcription'
    name: 'transcription'
    model: 'gpt-transcribe'
    sku: 'GlobalStandard'
    capacity: 10
  }
]
param modelDeployments = empty(chosenModels) ? usualModels : json(chosenModels)

param settings = {
  PUBLIC_BASE_URL: readEnvironmentVariable('PUBLIC_BASE_URL', '')
  // Both turn sign-in with Entra ID on; docs/entra.md says how to register the app.
  ENTRA_TENANT_ID: readEnvironmentVariable('ENTRA_TENANT_ID', '')
  ENTRA_CLIENT_ID: readEnvironmentVariable('ENTRA_CLIENT_ID', '')
}
param secretSettings = json(readEnvironmentVariable('SECRET_SETTINGS', '[]'))

param instanceMemoryMB = json(readEnvironmentVariable('INSTANCE_MEMORY_MB', '2048'))
param maximumInstanceCount = json(readEnvironmentVariable('MAXIMUM_INSTANCES', '40'))
param alwaysReady = [
  {
    name: 'http'
    // Zones need two.
    instanceCount: 2
  }
]
param zoneRedundant = true
param privateNetworking = true
param natGateway = false
param nameSuffix = readEnvironmentVariable('NAME_SUFFIX', '')

param mediaRetentionDays = 0
param conversationRetentionDays = 0
param usageRetentionDays = 0
param softDeleteDays = 7

param logRetentionDays = 90
param logDailyQuotaGb = 5
// West Europe, Virginia, Singapore.
param availabilityTestLocations = ['emea-nl-ams-azr', 'us-va-ash-azr', 'apac-sg-sin-azr']
param alertEmails = json(readEnvironmentVariable('ALERT_EMAILS', '[]'))
param budget = json(readEnvironmentVariable('BUDGET', 'null'))

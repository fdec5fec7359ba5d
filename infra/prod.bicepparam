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

// What your region offers: az cognitiveservices model list --location REGION --output table
param openAiLocation = readEnvironmentVariable('OPENAI_LOCATION', 'swedencentral')
param modelDeployments = [
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

param secretSettings = json(readEnvironmentVariable('SECRET_SETTINGS', '[]'))

param maximumInstanceCount = 40
param alwaysReady = [
  {
    name: 'http'
    // Zones need two.
    instanceCount: 2
  }
]
param zoneRedundant = true
param privateNetworking = true
param mediaRetentionDays = 0

param logRetentionDays = 90
param logDailyQuotaGb = 5
param alertEmails = json(readEnvironmentVariable('ALERT_EMAILS', '[]'))

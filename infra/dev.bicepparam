using 'main.bicep'

// For trying things out: scales to zero, keeps nothing for long. Environment variables come from azd's
// environment, the pipeline's variable group, or your shell.

param tags = {
  environment: 'dev'
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
    capacity: 50
  }
  {
    capability: 'image'
    name: 'image'
    model: 'gpt-image-2.5-flare'
    sku: 'GlobalStandard'
    capacity: 5
  }
]

param settings = {
  LOG_LEVEL: 'info'
}
param secretSettings = json(readEnvironmentVariable('SECRET_SETTINGS', '[]'))

param maximumInstanceCount = 5
param mediaRetentionDays = 7
param purgeProtection = false

param alertEmails = json(readEnvironmentVariable('ALERT_EMAILS', '[]'))

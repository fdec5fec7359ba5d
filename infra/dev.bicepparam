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

// docs/deploy.md shows how to find out which models and how much quota your region has. Chat alone, so that one
// missing quota does not stop the first deployment.
param openAiLocation = readEnvironmentVariable('OPENAI_LOCATION', 'swedencentral')
var chosenModels = readEnvironmentVariable('MODEL_DEPLOYMENTS', '')
param modelDeployments = empty(chosenModels)
  ? [
      {
        capability: 'chat'
        name: 'chat'
        model: 'gpt-6-luna'
        sku: 'GlobalStandard'
        capacity: 50
      }
    ]
  : json(chosenModels)

param settings = {
  LOG_LEVEL: 'info'
  PUBLIC_BASE_URL: readEnvironmentVariable('PUBLIC_BASE_URL', '')
  // Both turn sign-in with Entra ID on; docs/entra.md says how to register the app.
  ENTRA_TENANT_ID: readEnvironmentVariable('ENTRA_TENANT_ID', '')
  ENTRA_CLIENT_ID: readEnvironmentVariable('ENTRA_CLIENT_ID', '')
}
param secretSettings = json(readEnvironmentVariable('SECRET_SETTINGS', '[]'))

param instanceMemoryMB = json(readEnvironmentVariable('INSTANCE_MEMORY_MB', '2048'))
// Some regions take 40 as the least. Instances that do not run cost nothing.
param maximumInstanceCount = json(readEnvironmentVariable('MAXIMUM_INSTANCES', '40'))
param mediaRetentionDays = 7
param softDeleteDays = 0
param purgeProtection = false
param nameSuffix = readEnvironmentVariable('NAME_SUFFIX', '')

param alertEmails = json(readEnvironmentVariable('ALERT_EMAILS', '[]'))
param budget = json(readEnvironmentVariable('BUDGET', 'null'))

// The Flex Consumption plan and the function app on it.

import { AlwaysReady } from 'types.bicep'

@description('Name of the app, and of its domain.')
param name string

@description('Name of the plan.')
param planName string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Whether instances are spread over zones.')
param zoneRedundant bool

@description('Memory of an instance in MB.')
param instanceMemoryMB int

@description('Most instances at a time.')
param maximumInstanceCount int

@description('Requests that one instance answers at a time.')
param httpConcurrency int

@description('Instances that never scale in.')
param alwaysReady AlwaysReady[]

@description('Resource id of the identity of the app.')
param identityId string

@description('Client id of the same identity.')
param identityClientId string

@description('Name of the storage account of the host.')
param hostStorageName string

@description('URL of the container of deployed packages.')
param deploymentContainerUrl string

@description('Connection string of Application Insights; it holds no secret that would be accepted.')
param insightsConnectionString string

@description('Settings of the app by name.')
param settings { *: string }

@description('Names of settings whose value is a secret of the key vault.')
param secretSettings string[]

@description('Address of the key vault.')
param keyVaultUri string

@description('Subnet of outbound traffic; empty for none.')
param subnetId string

@description('How instances are replaced when code or settings change.')
param siteUpdateStrategy 'Recreate' | 'RollingUpdate'

@description('Whether the log of host and app is kept as FunctionAppLogs too.')
param hostLogs bool

@description('Workspace for diagnostics.')
param workspaceId string

// Python version, bytecode and wheels of the package must agree with this: infra/package.py reads it.
var pythonVersion = '3.13'

// Flex Consumption refuses FUNCTIONS_WORKER_RUNTIME, WEBSITE_RUN_FROM_PACKAGE and all others of the older
// plans: functionAppConfig takes their place.
var hostSettings = {
  AzureWebJobsStorage__accountName: hostStorageName
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
  // The page at / is the app's own.
  AzureWebJobsDisableHomepage: 'true'
}

// OPENAI_API_KEY is the secret openai-api-key, and so on.
var vaultSettings = toObject(
  secretSettings,
  name => name,
  name => '@Microsoft.KeyVault(SecretUri=${keyVaultUri}secrets/${toLower(replace(name, '_', '-'))})'
)

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
    zoneRedundant: zoneRedundant
  }
}

resource app 'Microsoft.Web/sites@2024-11-01' = {
  name: name
  location: location
  tags: tags
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    publicNetworkAccess: 'Enabled'
    clientAffinityEnabled: false
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      http20Enabled: true
      remoteDebuggingEnabled: false
      appSettings: map(items(union(hostSettings, settings, vaultSettings)), setting => {
        name: setting.key
        value: setting.value
      })
    }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: deploymentContainerUrl
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: {
        name: 'python'
        version: pythonVersion
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: alwaysReady
        triggers: {
          http: {
            // Python's default is one request at a time, which would start an instance for each caller.
            perInstanceConcurrency: httpConcurrency
          }
        }
      }
      // Left out where it is the default: the rolling update is a preview that not every region knows.
      ...(siteUpdateStrategy == 'Recreate' ? {} : { siteUpdateStrategy: { type: siteUpdateStrategy } })
    }
  }

  resource ftp 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: {
      allow: false
    }
  }

  resource scm 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: {
      allow: false
    }
  }
}

// Platform metrics are kept without it for 93 days, at no cost.
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (hostLogs) {
  name: 'to-workspace'
  scope: app
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'FunctionAppLogs'
        enabled: true
      }
    ]
  }
}

output name string = app.name
output url string = 'https://${app.properties.defaultHostName}'

// Storage of the app: media, and in another container everything else that must last.

import { roles } from 'roles.bicep'

@description('Name of the storage account.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Whether the account survives the loss of a zone.')
param zoneRedundant bool

@description('Whether the account can be reached from outside the virtual network.')
param publicNetworkAccess bool

@description('Days in which what was deleted can be had back; 0 for none.')
param softDeleteDays int

@description('Origins of browsers that may read media by their links, or *.')
param corsOrigins string[]

@description('Days after which media are deleted; 0 keeps them.')
param mediaRetentionDays int

@description('Days after which media move to the cool tier.')
param mediaCoolingDays int

@description('Days without a new message after which a conversation is deleted; 0 keeps them.')
param conversationRetentionDays int

@description('Days after which records of usage are deleted; 0 keeps them.')
param usageRetentionDays int

@description('Days after which the records of idempotency keys, and of tasks of MCP clients, are deleted.')
param idempotencyRetentionDays int

@description('Principal of the app.')
param appPrincipalId string

@description('Name of the identity of the app; it names role assignments, since what-if knows it beforehand.')
param appIdentityName string

@description('Workspace for diagnostics.')
param workspaceId string

var mediaContainerName = 'media'
var stateContainerName = 'state'

// The service takes no number of days where it is off.
var softDelete = softDeleteDays > 0 ? { enabled: true, days: softDeleteDays } : { enabled: false }

resource account 'Microsoft.Storage/storageAccounts@2025-01-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: zoneRedundant ? 'Standard_ZRS' : 'Standard_LRS'
  }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    isHnsEnabled: false
    isLocalUserEnabled: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: publicNetworkAccess ? 'Enabled' : 'Disabled'
    networkAcls: {
      // Behind a firewall the lifecycle rules count as a trusted service.
      bypass: 'AzureServices'
      defaultAction: publicNetworkAccess ? 'Allow' : 'Deny'
    }
  }

  resource blobs 'blobServices' = {
    name: 'default'
    properties: {
      deleteRetentionPolicy: softDelete
      containerDeleteRetentionPolicy: softDelete
      cors: {
        corsRules: empty(corsOrigins)
          ? []
          : [
              {
                allowedOrigins: corsOrigins
                allowedMethods: ['GET', 'HEAD', 'OPTIONS']
                allowedHeaders: ['*']
                exposedHeaders: ['Content-Length', 'Content-Range', 'Content-Type', 'ETag']
                maxAgeInSeconds: 3600
              }
            ]
      }
    }

    resource media 'containers' = {
      name: mediaContainerName
    }

    resource state 'containers' = {
      name: stateContainerName
    }
  }
}

// What is looked at seldom costs less there, and opens as before.
var coolingRules = [
  {
    name: 'cool-old-media'
    type: 'Lifecycle'
    enabled: true
    definition: {
      filters: {
        blobTypes: ['blockBlob']
        prefixMatch: ['${mediaContainerName}/']
      }
      actions: {
        baseBlob: {
          tierToCool: {
            daysAfterModificationGreaterThan: mediaCoolingDays
          }
        }
      }
    }
  }
]

// The index records of media lie in the state container; they go when the media go.
var deletions = [
  {
    name: 'delete-old-media'
    days: mediaRetentionDays
    prefixes: ['${mediaContainerName}/', '${stateContainerName}/media/']
  }
  {
    name: 'delete-old-conversations'
    days: conversationRetentionDays
    prefixes: ['${stateContainerName}/conversations/', '${stateContainerName}/conversation-parts/']
  }
  {
    name: 'delete-old-usage'
    days: usageRetentionDays
    prefixes: ['${stateContainerName}/usage/']
  }
  {
    name: 'delete-old-idempotency-records'
    days: idempotencyRetentionDays
    prefixes: ['${stateContainerName}/idempotency/', '${stateContainerName}/mcp-tasks/']
  }
]

var deletionRules = map(filter(deletions, deletion => deletion.days > 0), deletion => {
  name: deletion.name
  type: 'Lifecycle'
  enabled: true
  definition: {
    filters: {
      blobTypes: ['blockBlob', 'appendBlob']
      prefixMatch: deletion.prefixes
    }
    actions: {
      baseBlob: {
        delete: {
          daysAfterModificationGreaterThan: deletion.days
        }
      }
    }
  }
})

resource lifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2025-01-01' = {
  parent: account
  name: 'default'
  properties: {
    policy: {
      rules: concat(coolingRules, deletionRules)
    }
  }
  dependsOn: [
    account::blobs
  ]
}

resource canUseMedia 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account::blobs::media.id, appIdentityName, roles.storageBlobDataContributor)
  scope: account::blobs::media
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.storageBlobDataContributor
    )
  }
}

resource canUseState 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account::blobs::state.id, appIdentityName, roles.storageBlobDataContributor)
  scope: account::blobs::state
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.storageBlobDataContributor
    )
  }
}

// Signed links need a user delegation key, which only the account as a whole can give.
resource canSignLinks 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, appIdentityName, roles.storageBlobDelegator)
  scope: account
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.storageBlobDelegator
    )
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-workspace'
  scope: account::blobs
  properties: {
    workspaceId: workspaceId
    // Not StorageWrite: an answer is written line by line, some ten rows of log for each chat.
    logs: [
      {
        category: 'StorageDelete'
        enabled: true
      }
    ]
  }
}

output id string = account.id
output name string = account.name
output blobEndpoint string = account.properties.primaryEndpoints.blob
output mediaContainerName string = mediaContainerName
output stateContainerName string = stateContainerName

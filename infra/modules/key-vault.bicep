// A key vault for what cannot be replaced by an identity: keys of providers outside Azure, and the key
// that encrypts stored credentials.

import { roles } from 'roles.bicep'

@description('Name of the vault.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Whether nobody can purge a deleted vault before its time. It cannot be switched off again.')
param purgeProtection bool

@description('Whether a deleted vault of this name is brought back, with its secrets, instead of a new one made.')
param recover bool

@description('Principal of the app, which reads secrets.')
param appPrincipalId string

@description('Name of the identity of the app; it names role assignments, since what-if knows it beforehand.')
param appIdentityName string

@description('Principal of the operator, who writes secrets; empty for none.')
param operatorPrincipalId string

@description('Workspace for diagnostics.')
param workspaceId string

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    createMode: recover ? 'recover' : 'default'
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 7
    // The service takes true or nothing.
    enablePurgeProtection: purgeProtection ? true : null
    // References of app settings do not reach a vault behind a firewall on Flex Consumption.
    publicNetworkAccess: 'Enabled'
  }
}

resource canRead 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, appIdentityName, roles.keyVaultSecretsUser)
  scope: vault
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.keyVaultSecretsUser
    )
  }
}

// Without a principal type: an operator may be a person or a pipeline.
resource canWrite 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operatorPrincipalId)) {
  name: guid(vault.id, operatorPrincipalId, roles.keyVaultSecretsOfficer)
  scope: vault
  properties: {
    principalId: operatorPrincipalId
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.keyVaultSecretsOfficer
    )
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-workspace'
  scope: vault
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'AuditEvent'
        enabled: true
      }
    ]
  }
}

output name string = vault.name
output uri string = vault.properties.vaultUri

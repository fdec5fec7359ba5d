// Log Analytics workspace, where none is given, and Application Insights, which takes telemetry from Entra
// identities only.

import { roles } from 'roles.bicep'
import { ExistingWorkspace } from 'types.bicep'

@description('Name of the workspace.')
param workspaceName string

@description('Workspace to use instead of an own one.')
param existingWorkspace ExistingWorkspace?

@description('Name of the Application Insights component.')
param insightsName string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Days that logs are kept in an own workspace.')
param retentionDays int

@description('Gigabytes of logs that a day may bring to an own workspace; -1 for no limit.')
param dailyQuotaGb int

@description('Principal that sends telemetry.')
param senderPrincipalId string

@description('Name of its identity; it names the role assignment, since what-if knows it beforehand.')
param senderIdentityName string

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' = if (existingWorkspace == null) {
  name: workspaceName
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionDays
    workspaceCapping: {
      dailyQuotaGb: dailyQuotaGb
    }
    features: {
      disableLocalAuth: true
      enableLogAccessUsingOnlyResourcePermissions: true
    }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: insightsName
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: existingWorkspace.?id ?? workspace.id
    IngestionMode: 'LogAnalytics'
    DisableLocalAuth: true
  }
}

resource canSend 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(insights.id, senderIdentityName, roles.monitoringMetricsPublisher)
  scope: insights
  properties: {
    principalId: senderPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.monitoringMetricsPublisher
    )
  }
}

output workspaceId string = existingWorkspace.?id ?? workspace.id
// Rules over logs must be in the region of the logs.
output workspaceLocation string = existingWorkspace.?location ?? location
output insightsId string = insights.id
output insightsConnectionString string = insights.properties.ConnectionString

// What somebody should know of: failures, slowness, throttling, a provider that fails, and that the day's
// quota of logs is used up, after which the other rules see nothing.
// The rules read the requests that Application Insights recorded. A client that leaves makes the host
// call its request failed, so they go by the status and not by "success".

@description('Beginning of the names of all rules.')
param namePrefix string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Workspace with the requests.')
param workspaceId string

@description('Addresses that get a mail; without any, alerts are only shown in the portal.')
param emails string[]

@description('Responses with status 500 or 503 in 15 minutes that raise no alert yet.')
param failureThreshold int

@description('Seconds that the 95th percentile of a quarter of an hour may take.')
param latencyThresholdSeconds int

@description('Responses with status 429 in 15 minutes that raise no alert yet.')
param throttlingThreshold int

@description('Responses with status 502 or 504 in 15 minutes that raise no alert yet.')
param providerErrorThreshold int

resource recipients 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(emails)) {
  name: '${namePrefix}-operators'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'operators'
    emailReceivers: [
      for (email, index) in emails: {
        name: 'operator-${index}'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

var rules = [
  {
    name: 'failures'
    severity: 1
    description: 'Requests end with status 500 or 503: a bug, or a setting is missing. The detail and request id are in AppTraces.'
    query: 'AppRequests | where ResultCode in ("500", "503") | summarize Value = sum(ItemCount)'
    threshold: failureThreshold
  }
  {
    name: 'latency'
    severity: 2
    description: 'The 95th percentile of the time that requests take is too high.'
    query: 'AppRequests | summarize Calls = sum(ItemCount), P95 = percentile(DurationMs, 95) | where Calls >= 20 | project Value = P95 / 1000'
    threshold: latencyThresholdSeconds
  }
  {
    name: 'throttling'
    severity: 2
    description: 'The provider throttles: raise the capacity of the deployment or spread the load.'
    query: 'AppRequests | where ResultCode == "429" | summarize Value = sum(ItemCount)'
    threshold: throttlingThreshold
  }
  {
    name: 'provider-errors'
    severity: 1
    description: 'The provider refuses the credentials, cannot be reached, or is too slow.'
    query: 'AppRequests | where ResultCode in ("502", "504") | summarize Value = sum(ItemCount)'
    threshold: providerErrorThreshold
  }
  {
    name: 'log-quota'
    severity: 2
    description: 'The workspace has taken in its quota of the day: until tomorrow there are no logs, and no other alerts.'
    query: '_LogOperation | where Category =~ "Ingestion" and Detail contains "OverQuota" | summarize Value = count()'
    threshold: 0
  }
]

resource alerts 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for rule in rules: {
    name: '${namePrefix}-${rule.name}'
    location: location
    tags: tags
    properties: {
      displayName: '${namePrefix} ${rule.name}'
      description: rule.description
      severity: rule.severity
      enabled: true
      scopes: [workspaceId]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT15M'
      autoMitigate: true
      // The table does not exist before the first request.
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: rule.query
            metricMeasureColumn: 'Value'
            timeAggregation: 'Maximum'
            operator: 'GreaterThan'
            threshold: rule.threshold
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      actions: {
        actionGroups: empty(emails) ? [] : [recipients.id]
      }
    }
  }
]

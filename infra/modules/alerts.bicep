// What somebody should know of: failures, slowness, throttling, a provider that fails, an app that gives no sign of
// life, and that the day's quota of logs is used up, after which the other rules see nothing.
// The rules read the requests that Application Insights recorded. A client that leaves makes the host
// call its request failed, so they go by the status and not by "success". What fails after the status was sent,
// in a stream or in the result of an MCP tool, is a failure in the app's log line only: "request {JSON}".

@description('Beginning of the names of all rules.')
param namePrefix string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Workspace with the requests.')
param workspaceId string

@description('Resource id of the Application Insights component; others may write into the same workspace.')
param insightsId string

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

// Requests: what callers asked for. Lines: what the app says about each of them.
var views = join(
  [
    'let Own = AppRequests | where _ResourceId =~ "${insightsId}";'
    'let Requests = Own | where OperationName !in ("housekeeping", "health");'
    'let Traces = AppTraces | where _ResourceId =~ "${insightsId}";'
    'let Lines = Traces | where Message startswith "request {"'
    '  | extend Line = parse_json(substring(Message, 8))'
    '  | extend Status = toint(Line.status), Outcome = tostring(Line.outcome), Code = tostring(Line.code)'
    '  | extend Throttled = Code in ("rate_limited", "quota_exceeded");'
    ''
  ],
  '\n'
)

var often = {
  evaluationFrequency: 'PT5M'
  windowSize: 'PT15M'
}
var hourly = {
  evaluationFrequency: 'PT1H'
  windowSize: 'PT1H'
}

var rules = [
  {
    name: 'failures'
    severity: 1
    description: 'Requests end with status 500 or 503, or fail inside a 200: a bug, or a setting is missing. The detail and request id are in AppTraces.'
    query: 'union (Requests | where ResultCode in ("500", "503") | project ItemCount), (Lines | where Status < 400 and Outcome == "error" | project ItemCount) | summarize Value = sum(ItemCount)'
    threshold: failureThreshold
    schedule: often
  }
  {
    name: 'latency'
    severity: 2
    description: 'The 95th percentile of the time that requests take is too high.'
    query: 'Requests | summarize Calls = sum(ItemCount), P95 = percentile(DurationMs, 95) | where Calls >= 20 | project Value = P95 / 1000'
    threshold: latencyThresholdSeconds
    schedule: often
  }
  {
    name: 'throttling'
    severity: 2
    description: 'Callers are throttled: by the provider (raise the capacity of the deployment or spread the load) or by their own limits. The code in AppTraces says which.'
    query: 'union (Requests | where ResultCode == "429" | project ItemCount), (Lines | where Status < 400 and Throttled | project ItemCount) | summarize Value = sum(ItemCount)'
    threshold: throttlingThreshold
    schedule: often
  }
  {
    name: 'provider-errors'
    severity: 1
    description: 'The provider refuses the credentials, cannot be reached, or is too slow.'
    query: 'union (Requests | where ResultCode in ("502", "504") | project ItemCount), (Lines | where Status < 400 and Outcome == "provider_error" and not(Throttled) | project ItemCount) | summarize Value = sum(ItemCount)'
    threshold: providerErrorThreshold
    schedule: often
  }
  {
    name: 'heartbeat'
    severity: 1
    description: 'The timer, which runs every five minutes, has not run for an hour: the host, its timers or the telemetry are broken.'
    query: 'union (Own | where OperationName == "housekeeping"), (Traces | where Message startswith "housekeeping {") | summarize Runs = count() | project Value = iff(Runs == 0, 1, 0)'
    threshold: 0
    schedule: hourly
  }
  {
    name: 'housekeeping'
    severity: 2
    description: 'The timer of the app fails: what has expired is not cleared away.'
    query: 'Own | where OperationName == "housekeeping" and Success == false | summarize Value = sum(ItemCount)'
    threshold: 0
    schedule: hourly
  }
  {
    name: 'log-quota'
    severity: 2
    description: 'The workspace has taken in its quota of the day: until tomorrow there are no logs, and no other alerts.'
    query: '_LogOperation | where Category =~ "Ingestion" and Detail contains "OverQuota" | summarize Value = count()'
    threshold: 0
    schedule: hourly
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
      ...rule.schedule
      autoMitigate: true
      // The table does not exist before the first request.
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: '${views}${rule.query}'
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

// The platform's own view of the resources. It costs nothing.
resource health 'Microsoft.Insights/activityLogAlerts@2020-10-01' = {
  name: '${namePrefix}-resource-health'
  location: 'global'
  tags: tags
  properties: {
    description: 'Azure says that a resource of this deployment is unavailable or degraded.'
    enabled: true
    scopes: [resourceGroup().id]
    condition: {
      allOf: [
        {
          field: 'category'
          equals: 'ResourceHealth'
        }
        {
          anyOf: [
            {
              field: 'properties.currentHealthStatus'
              equals: 'Unavailable'
            }
            {
              field: 'properties.currentHealthStatus'
              equals: 'Degraded'
            }
          ]
        }
      ]
    }
    actions: {
      actionGroups: empty(emails) ? [] : [{ actionGroupId: recipients.id }]
    }
  }
}

output actionGroupIds string[] = empty(emails) ? [] : [recipients.id]

// Calls /health from outside, so that an app that does not answer at all raises an alarm: such an app writes no
// log that a rule could read.

@description('Name of the test and of its alert.')
param name string

@description('Region of Application Insights.')
param location string

@description('Tags.')
param tags object

@description('Resource id of the Application Insights component.')
param insightsId string

@description('Where callers reach the app.')
param url string

@description('Places that call, by the names of Application Insights.')
@minLength(1)
param locations string[]

@description('Resource ids of the action groups that are told.')
param actionGroupIds string[]

resource test 'Microsoft.Insights/webtests@2022-06-15' = {
  name: name
  location: location
  // Application Insights finds the test by this tag.
  tags: union(tags, { 'hidden-link:${insightsId}': 'Resource' })
  kind: 'standard'
  properties: {
    SyntheticMonitorId: name
    Name: name
    Enabled: true
    Kind: 'standard'
    Frequency: 300
    // A cold start takes seconds.
    Timeout: 30
    RetryEnabled: true
    Locations: [
      for each in locations: {
        Id: each
      }
    ]
    Request: {
      RequestUrl: '${url}/health'
      HttpVerb: 'GET'
      ParseDependentRequests: false
    }
    ValidationRules: {
      ExpectedHttpStatusCode: 200
      SSLCheck: true
      SSLCertRemainingLifetimeCheck: 7
    }
  }
}

resource alert 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: name
  location: 'global'
  tags: tags
  properties: {
    description: 'The app does not answer GET /health, or says that it is unhealthy, from more than one place.'
    severity: 0
    enabled: true
    autoMitigate: true
    evaluationFrequency: 'PT1M'
    windowSize: 'PT5M'
    scopes: [test.id, insightsId]
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.WebtestLocationAvailabilityCriteria'
      webTestId: test.id
      componentId: insightsId
      failedLocationCount: min(2, length(locations))
    }
    actions: map(actionGroupIds, id => { actionGroupId: id })
  }
}

// A monthly budget of the resource group. It warns and stops nothing.

import { Budget } from 'types.bicep'

@description('Name of the budget.')
param name string

@description('The amount and its first month.')
param budget Budget

@description('Addresses that get a mail.')
@minLength(1)
param emails string[]

resource monthly 'Microsoft.Consumption/budgets@2024-08-01' = {
  name: name
  properties: {
    category: 'Cost'
    amount: budget.amount
    timeGrain: 'Monthly'
    timePeriod: {
      startDate: budget.startDate
    }
    notifications: {
      spentMost: {
        enabled: true
        operator: 'GreaterThanOrEqualTo'
        threshold: 80
        thresholdType: 'Actual'
        contactEmails: emails
      }
      willSpendAll: {
        enabled: true
        operator: 'GreaterThanOrEqualTo'
        threshold: 100
        thresholdType: 'Forecasted'
        contactEmails: emails
      }
    }
  }
}

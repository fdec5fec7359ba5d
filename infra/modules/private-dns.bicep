// Private DNS zones, and their links to the network whose names they answer.

@description('Names of the zones.')
param zoneNames string[]

@description('Name of the links.')
param linkName string

@description('Resource id of the virtual network.')
param networkId string

@description('Tags.')
param tags object

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for zoneName in zoneNames: {
    name: zoneName
    location: 'global'
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (zoneName, index) in zoneNames: {
    parent: zones[index]
    name: linkName
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      // Accounts of others that have private endpoints elsewhere are not in this zone: ask the Internet for them.
      resolutionPolicy: 'NxDomainRedirect'
      virtualNetwork: {
        id: networkId
      }
    }
  }
]

output zoneIds string[] = [for (zoneName, index) in zoneNames: zones[index].id]

// A real OAuth 2.1 authorization server (oidc-provider) on loopback, whose only user agrees to everything.
// Arguments: the port, the URL of the protected resource, the lifetime of access tokens in seconds.
import http from 'node:http';
import { createRequire } from 'node:module';

const require = createRequire(new URL('../../node/', import.meta.url));
const { Provider } = require('oidc-provider');

const [port, resource, lifetime] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const account = 'ann';

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'machine',
      client_secret: 'secret-of-the-machine',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    },
    {
      client_id: 'resource-server',
      client_secret: 'secret-of-the-resource-server',
      grant_types: [],
      redirect_uris: [],
      response_types: [],
    },
  ],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: () => true },
    registration: { enabled: true },
    revocation: { enabled: true, allowedPolicy: () => true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({ scope: 'mcp', accessTokenTTL: Number(lifetime) }),
    },
  },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  issueRefreshToken: () => true,
  scopes: ['openid', 'offline_access', 'mcp'],
});
const answer = provider.callback();

async function interact(request, response) {
  const { prompt, params } = await provider.interactionDetails(request, response);
  let result = { login: { accountId: account } };
  if (prompt.name === 'consent') {
    const grant = new provider.Grant({ accountId: account, clientId: params.client_id });
    grant.addOIDCScope('openid offline_access mcp');
    grant.addResourceScope(resource, 'mcp');
    result = { consent: { grantId: await grant.save() } };
  }
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
}

http
  .createServer((request, response) => {
    const handled = request.url.startsWith('/interaction/')
      ? interact(request, response)
      : answer(request, response);
    Promise.resolve(handled).catch((error) => response.destroy(error));
  })
  .listen(Number(port), '127.0.0.1', () => process.stdout.write('listening\n'));

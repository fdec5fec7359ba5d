// oidc-provider in the role of Entra ID, with what Entra does and what it refuses:
// no registration of clients, no client id documents, metadata at openid-configuration alone and without
// code_challenge_methods_supported, scopes that have to begin with the resource, access tokens of version 2.
// Arguments: the port, the tenant, the client id of the API, that of the public client, the URL of the app.
import http from 'node:http';
import { createRequire } from 'node:module';

const require = createRequire(new URL('../../node/', import.meta.url));
const { Provider, errors } = require('oidc-provider');

const [port, tenant, api, client, app] = process.argv.slice(2);
const authority = `http://127.0.0.1:${port}/${tenant}`;
const issuer = `${authority}/v2.0`;
const person = '99999999-8888-7777-6666-555555555555';
const names = ['user_impersonation', 'chat', 'tools', 'connections', 'openai'];
const resources = [`${app}/mcp`, app, `api://${api}`];
const scopeOf = (resource) => names.map((name) => `${resource}/${name}`).join(' ');

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: client,
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: ['http://localhost/callback', 'http://127.0.0.1/oauth/callback'],
    },
  ],
  features: {
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource) => {
        if (!resources.includes(resource)) throw new errors.InvalidTarget('AADSTS500011');
        return {
          scope: scopeOf(resource),
          audience: api,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'RS256' } },
        };
      },
    },
  },
  formats: {
    customizers: {
      jwt: (_, token, parts) => {
        const { scope, client_id, ...rest } = parts.payload;
        parts.payload = {
          ...rest,
          iss: issuer,
          nbf: rest.iat,
          azp: client_id,
          oid: person,
          preferred_username: 'alice@example.com',
          scp: scope.split(' ').map((each) => each.split('/').pop()).join(' '),
          sub: 'pairwise',
          tid: tenant,
          uti: token.jti,
          ver: '2.0',
        };
      },
    },
  },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  scopes: ['openid', 'offline_access', ...resources.flatMap((each) => scopeOf(each).split(' '))],
});

// What Entra answers where scope and resource are of different URIs.
provider.use(async (context, next) => {
  if (context.path === '/auth') {
    const resource = context.query.resource;
    const scopes = (context.query.scope ?? '').split(' ').filter((each) => each.includes('/') || names.includes(each));
    if (!scopes.length || scopes.some((each) => !each.startsWith(`${resource}/`))) {
      context.status = 400;
      context.body = `AADSTS9010010: scope ${context.query.scope}, resource ${resource}`;
      return;
    }
  }
  await next();
  if (context.path === '/.well-known/openid-configuration' && context.body) {
    delete context.body.code_challenge_methods_supported;
    context.body.jwks_uri = `${authority}/discovery/v2.0/keys`;
  }
});
const answer = provider.callback();

async function interact(request, response) {
  const { prompt, params } = await provider.interactionDetails(request, response);
  let result = { login: { accountId: person } };
  if (prompt.name === 'consent') {
    const grant = new provider.Grant({ accountId: person, clientId: params.client_id });
    grant.addOIDCScope(`openid offline_access ${scopeOf(params.resource)}`);
    grant.addResourceScope(params.resource, scopeOf(params.resource));
    result = { consent: { grantId: await grant.save() } };
  }
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
}

http
  .createServer((request, response) => {
    const { pathname } = new URL(request.url, authority);
    if (pathname.startsWith('/interaction/')) {
      interact(request, response).catch((error) => response.destroy(error));
      return;
    }
    if (pathname === `/${tenant}/discovery/v2.0/keys`) request.url = `/${tenant}/v2.0/jwks`;
    if (!request.url.startsWith(`/${tenant}/v2.0`)) {
      response.writeHead(404).end();
      return;
    }
    request.originalUrl = request.url;
    request.url = request.url.slice(`/${tenant}/v2.0`.length);
    answer(request, response);
  })
  .listen(Number(port), '127.0.0.1', () => process.stdout.write('listening\n'));

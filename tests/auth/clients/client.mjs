// The official TypeScript client, which begins without a token: signs in, calls a tool, prints its answer.
// Arguments: the URL of the server, the client id, the redirect address.
import { createRequire } from 'node:module';

const require = createRequire(new URL('../../node/', import.meta.url));
const { Client } = require('@modelcontextprotocol/sdk/client/index.js');
const { StreamableHTTPClientTransport } = require('@modelcontextprotocol/sdk/client/streamableHttp.js');
const { UnauthorizedError } = require('@modelcontextprotocol/sdk/client/auth.js');

const [url, clientId, redirect] = process.argv.slice(2);
const kept = {};
let code;

async function browse(address) {
  const cookies = new Map();
  for (let pages = 0; pages < 20; pages += 1) {
    if (String(address).startsWith(redirect)) return new URL(address).searchParams.get('code');
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const page = await fetch(address, { redirect: 'manual', headers: { cookie } });
    if (page.status >= 400) throw new Error(await page.text());
    for (const each of page.headers.getSetCookie()) {
      const [name, value] = each.split(';')[0].split('=');
      cookies.set(name, value);
    }
    address = new URL(page.headers.get('location'), address);
  }
  throw new Error('no way back');
}

const authProvider = {
  redirectUrl: redirect,
  clientMetadata: { redirect_uris: [redirect], token_endpoint_auth_method: 'none' },
  clientInformation: () => ({ client_id: clientId }),
  tokens: () => kept.tokens,
  saveTokens: (tokens) => { kept.tokens = tokens; },
  redirectToAuthorization: async (address) => { code = await browse(address); },
  saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
  codeVerifier: () => kept.verifier,
};

async function connect() {
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider });
  const client = new Client({ name: 'tests', version: '1' });
  try {
    await client.connect(transport);
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error;
    await transport.finishAuth(code);
    return connect();
  }
  return client;
}

const client = await connect();
const result = await client.callTool({ name: 'server_time', arguments: {} });
process.stdout.write(JSON.stringify(result.structuredContent));
await client.close();

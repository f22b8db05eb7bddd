// An OpenID Connect server for tests: client credentials for signed JWT access tokens.
//
//   node server.js STATE-FILE PORT TOKEN-SECONDS
//
// Writes the URLs to STATE-FILE when it answers.
import { generateKeyPairSync } from 'node:crypto';
import { renameSync, writeFileSync } from 'node:fs';
import Provider, { errors } from 'oidc-provider';

const [state, port, seconds] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const audience = 'kafka';

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'heartbeat',
      client_secret: 'oidc-secret',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    },
  ],
  // Kafka's own clients and others use the header or the body.
  clientAuthMethods: ['client_secret_basic', 'client_secret_post'],
  clientDefaults: { token_endpoint_auth_method: 'client_secret_basic' },
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'test', use: 'sig', alg: 'RS256' }] },
  scopes: ['kafka'],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      // Kafka's clients name no resource, and only tokens for one are JWTs.
      defaultResource: () => 'urn:heartbeat:kafka',
      getResourceServerInfo: (ctx, resource) => {
        if (resource !== 'urn:heartbeat:kafka') throw new errors.InvalidTarget();
        return {
          scope: 'kafka',
          audience,
          accessTokenTTL: Number(seconds),
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'RS256' } },
        };
      },
    },
  },
});

provider.listen(Number(port), '127.0.0.1', () => {
  writeFileSync(
    `${state}.new`,
    `OIDC_ISSUER=${issuer}\nOIDC_AUDIENCE=${audience}\nOIDC_TOKEN_URL=${issuer}/token\nOIDC_JWKS_URL=${issuer}/jwks\n`,
  );
  renameSync(`${state}.new`, state);
});

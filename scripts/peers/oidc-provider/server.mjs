// An OpenID-certified authorization server on loopback TLS, with the clients of a file whose path is the only argument;
// --version prints versions instead. It prints {"ready": <issuer>} when it listens, and {"client_id", "status", "error"}
// after each token request. It ends when its standard input ends.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import Provider from 'oidc-provider';

if (process.argv[2] === '--version') {
  const { version } = JSON.parse(readFileSync(new URL('node_modules/oidc-provider/package.json', import.meta.url), 'utf8'));
  console.log(`oidc-provider ${version}, node ${process.version}`);
  process.exit();
}

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const algorithms = ['RS256', 'PS256', 'ES256', 'ES384'];
const say = (object) => process.stdout.write(JSON.stringify(object) + '\n');

const jwk = (kid, alg, type, options) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), kid, alg, use: 'sig',
});
// RFC 4514 puts the last name first.
const subject = (certificate) => certificate.subject.split('\n').reverse().join(',');

const listener = createServer({
  key: config.tls.key, cert: config.tls.certificate, ca: config.tls.client_ca, requestCert: true, rejectUnauthorized: false,
});
// All output is written before the exit.
const end = () => process.stdout.write('', () => process.exit());
process.on('SIGTERM', end);
process.stdin.on('end', end).resume();

listener.listen(config.port, '127.0.0.1', () => {
  const provider = new Provider(config.issuer, {
    clients: config.clients,
    jwks: { keys: [jwk('rs', 'RS256', 'rsa', { modulusLength: 2048 })] },
    scopes: ['read', 'write'],
    clientAuthMethods: [
      'client_secret_post', 'client_secret_basic', 'private_key_jwt', 'tls_client_auth', 'self_signed_tls_client_auth',
    ],
    enabledJWA: { clientAuthSigningAlgValues: algorithms },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      mTLS: {
        enabled: true, certificateBoundAccessTokens: true, tlsClientAuth: true, selfSignedTlsClientAuth: true,
        getCertificate: (ctx) => ctx.socket.getPeerX509Certificate(),
        certificateAuthorized: (ctx) => ctx.socket.authorized,
        certificateSubjectMatches: (ctx, property, expected) =>
          property === 'tls_client_auth_subject_dn' && subject(new X509Certificate(ctx.socket.getPeerX509Certificate().raw)) === expected,
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, resource) => ({ scope: 'read write', audience: resource, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } }),
      },
    },
    // Longer than the 15 minutes that a delivered token must still live.
    ttl: { ClientCredentials: 3600 },
  });
  provider.on('server_error', (ctx, error) => process.stderr.write(`server error: ${error.stack}\n`));
  provider.use(async (ctx, next) => {
    await next();
    if (ctx.path === '/token') {
      say({ client_id: ctx.oidc?.client?.clientId ?? ctx.oidc?.params?.client_id ?? '', status: ctx.status, error: ctx.body?.error });
    }
  });
  listener.on('request', provider.callback());
  say({ ready: config.issuer });
});

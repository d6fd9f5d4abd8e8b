// Runs Debian's glewlwyd on loopback TLS, with the clients of a file whose path is the only argument; --version prints the
// version instead. Configuration and database are written beside that file. It ends when its standard input ends.
import { execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

if (process.argv[2] === '--version') {
  console.log(`glewlwyd ${execFileSync('glewlwyd', ['--version'], { encoding: 'utf8' }).trim()}`);
  process.exit();
}

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const dir = dirname(process.argv[2]);
const database = join(dir, 'glewlwyd.db');
const settings = join(dir, 'glewlwyd.conf');
const trusted = join(dir, 'trusted.pem');
// Paths of the Debian package.
const tables = '/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3';
const modules = '/usr/lib/glewlwyd';

const key = { ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), kid: 'rs', alg: 'RS256', use: 'sig' };
const oidc = {
  iss: config.issuer,
  'jwks-private': JSON.stringify({ keys: [key] }), 'default-kid': 'rs', 'jwks-show': true,
  'access-token-duration': 3600,
  'allow-non-oidc': true, 'auth-type-client-enabled': true, // client_credentials
  'request-parameter-allow': true, 'client-jwks-parameter': 'jwks', // private_key_jwt
  'client-cert-source': 'TLS', 'client-cert-self-signed-allowed': true,
  'resource-allowed': true, 'resource-scope': { read: [config.resource] },
};

const text = (value) => `'${String(value).replaceAll("'", "''")}'`;
const insert = (table, row) => `INSERT INTO ${table} (${Object.keys(row)}) VALUES (${Object.values(row)});`;
const sql = ['BEGIN;', readFileSync(tables, 'utf8')];
sql.push(insert('g_plugin_module_instance', { gpmi_module: text('oidc'), gpmi_name: text('oidc'), gpmi_parameters: text(JSON.stringify(oidc)) }));
const scopes = [...new Set(config.clients.flatMap((client) => client.scope.split(' ')))];
for (const scope of scopes) {
  sql.push(insert('g_scope', { gs_name: text(scope) }), insert('g_client_scope', { gcs_name: text(scope) }));
}
config.clients.forEach((client, i) => {
  const { client_id: name, scope, grant_types: grants, ...rest } = client;
  const id = i + 1;
  sql.push(insert('g_client', { gc_id: id, gc_client_id: text(name), gc_confidential: 1 }));
  for (const one of scope.split(' ')) {
    sql.push(insert('g_client_scope_client', { gc_id: id, gcs_id: `(SELECT gcs_id FROM g_client_scope WHERE gcs_name = ${text(one)})` }));
  }
  for (const [property, value] of Object.entries({ ...rest, authorization_type: grants })) {
    for (const one of [value].flat()) {
      sql.push(insert('g_client_property', { gc_id: id, gcp_name: text(property), gcp_value: text(typeof one === 'object' ? JSON.stringify(one) : one) }));
    }
  }
});
execFileSync('sqlite3', ['-bail', database], { input: [...sql, 'COMMIT;'].join('\n'), stdio: ['pipe', 'inherit', 'inherit'] });

// glewlwyd ignores a client certificate that no trusted one has signed, so the self-signed ones are trusted, too.
const chains = config.clients.flatMap((client) => client.jwks?.keys.map((key) => key.x5c?.[0]) ?? []).filter(Boolean);
const pem = (certificate) => `-----BEGIN CERTIFICATE-----\n${certificate.match(/.{1,64}/g).join('\n')}\n-----END CERTIFICATE-----\n`;
writeFileSync(trusted, [config.tls.client_ca, ...chains.map(pem)].join('\n'));

// glewlwyd's libraries log an unknown certificate and a wrong signature as errors; "failure" in peer.json does not match
// these.
writeFileSync(settings, `
port = ${config.port}
bind_address = "127.0.0.1"
external_url = ${JSON.stringify(new URL(config.issuer).origin)}
api_prefix = "api"
log_mode = "console"
log_level = "INFO"
user_module_path = "${modules}/user"
client_module_path = "${modules}/client"
user_auth_scheme_module_path = "${modules}/scheme"
plugin_module_path = "${modules}/plugin"
use_secure_connection = true
secure_connection_key_file = ${JSON.stringify(join(dir, 'server-key.pem'))}
secure_connection_pem_file = ${JSON.stringify(join(dir, 'server.pem'))}
secure_connection_ca_file = ${JSON.stringify(trusted)}
database = { type = "sqlite3"; path = ${JSON.stringify(database)}; };
`);

const server = spawn('glewlwyd', ['--config-file', settings], { stdio: ['ignore', 'inherit', 'inherit'] });
server.on('error', (error) => { throw error; });
server.on('exit', (code) => process.exit(code ?? 1));
// SIGTERM goes to the whole process group. This process goes on, so that the last output of glewlwyd is read.
process.on('SIGTERM', () => {});
process.stdin.on('end', () => server.kill()).resume();

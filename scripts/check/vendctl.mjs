// Gets tokens from vendctl serve with libraries as they are. Called by scripts/check/vendctl with the directory of the
// programs and of stack.json.
import { execFileSync, spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import * as oidc from "openid-client";
import xssec from "@sap/xssec";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";

const work = process.argv[2];
const vendctl = `${work}/vendctl`;
const listen = "127.0.0.1:18973";
const at = ["--listen", listen, "--local-secret-file", `${work}/secret`];
const run = (...args) => execFileSync(vendctl, [...args, ...at]).toString();

function want(condition, what) {
  if (!condition) throw new Error(`failed: ${what}`);
  console.log(`ok: ${what}`);
}

// The server of MCP accepts only tokens of the authorization server of the stack.
const target = http.createServer(async (req, res) => {
  if (!req.headers.authorization?.startsWith("Bearer ey")) {
    res.writeHead(401).end();
    return;
  }
  const server = new McpServer({ name: "orders", version: "1" });
  server.registerTool("ping", { description: "answers" }, async () => ({ content: [{ type: "text", text: "pong" }] }));
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
  await server.connect(transport);
  await transport.handleRequest(req, res);
});
await new Promise((done) => target.listen(0, "127.0.0.1", done));

// A target of its own for the counted requests: the MCP client opens a stream of events at a time of its own.
let requests = 0;
const counting = http.createServer((_, res) => {
  requests++;
  res.end();
});
await new Promise((done) => counting.listen(0, "127.0.0.1", done));

const log = fs.openSync(`${work}/serve.log`, "w");
const route = (name, server) => ["--route", `${name}=demo@http://127.0.0.1:${server.address().port}/`];
const serve = spawn(vendctl, ["--local", `${work}/stack.json`, "serve", ...at, ...route("mcp", target), ...route("counting", counting)], { stdio: ["ignore", log, log] });
try {
  for (let i = 0; i < 200 && !(await fetch(`http://${listen}/healthz`).then(() => true, () => false)); i++) {
    await new Promise((done) => setTimeout(done, 50));
  }
  const secret = fs.readFileSync(`${work}/secret`, "utf8").trim();

  process.stdout.write(execFileSync(`${work}/oauth2client`, [`http://${listen}/oauth2/token`, `${work}/secret`]));
  const config = await oidc.discovery(new URL(`http://${listen}`), "demo", secret, undefined, { execute: [oidc.allowInsecureRequests], algorithm: "oauth2" });
  const token = await oidc.clientCredentialsGrant(config, { scope: "read" });
  want(token.scope === "read" && token.expires_in > 600, "openid-client discovers the endpoint and gets a token");

  const xsuaa = new xssec.XsuaaService(JSON.parse(run("service-key", "demo")));
  want((await xsuaa.fetchClientCredentialsToken({ scope: "read" })).scope === "read", "@sap/xssec gets a token as from XSUAA");
  const identity = new xssec.IdentityService(JSON.parse(run("service-key", "demo", "--service", "identity")));
  const plain = await identity.fetchClientCredentialsToken();
  const other = await identity.fetchClientCredentialsToken({ resource: "urn:sap:identity:application:provider:name:orders" });
  want(plain.access_token && other.access_token && plain.access_token !== other.access_token, "@sap/xssec gets tokens as from Identity, also for a resource");

  process.env.VCAP_SERVICES = run("vcap", "demo");
  const sdk = await import("@sap-cloud-sdk/connectivity");
  want((await sdk.serviceToken("xsuaa")).length > 20, "@sap-cloud-sdk/connectivity gets a token by the VCAP_SERVICES of vendctl vcap");

  const client = new Client({ name: "agent", version: "1" });
  await client.connect(new StreamableHTTPClientTransport(new URL(`http://${listen}/r/mcp/~${secret}/mcp`)));
  const answer = await client.callTool({ name: "ping", arguments: {} });
  want(answer.content[0].text === "pong", "an MCP client without a token calls a tool through a route");
  await client.close();

  const post = (given) => fetch(`http://${listen}/r/counting/~${given}/`, { method: "POST", body: "{}" });
  want((await post(secret)).status === 200 && requests === 1, "a local secret in the path reaches the target");
  want((await post("wrong")).status === 401 && requests === 1, "a wrong local secret reaches nothing");
  const shown = fs.readFileSync(`${work}/serve.log`, "utf8");
  want(!shown.includes(secret) && !shown.includes(token.access_token), "the log shows neither a token nor the local secret");
} finally {
  serve.kill();
  target.close();
  counting.close();
}

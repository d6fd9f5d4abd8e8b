// The client_credentials extension of MCP with the official SDK, as it is: a client of the SDK finds the authorization
// server by the metadata of the MCP server (RFC 9728), which is vendctl serve, and asks it for a token for that server (RFC
// 8707). The vendor gets it with private_key_jwt (RFC 7523). The MCP server verifies issuer, signature and audience. Called
// by scripts/check/vendctl with the directory of the programs and of stack.json.
import { spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import express from "express";
import { createRemoteJWKSet, jwtVerify } from "jose";
import { ClientCredentialsProvider } from "@modelcontextprotocol/sdk/client/auth-extensions.js";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { requireBearerAuth } from "@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js";
import { getOAuthProtectedResourceMetadataUrl } from "@modelcontextprotocol/sdk/server/auth/router.js";
import { InvalidTokenError } from "@modelcontextprotocol/sdk/server/auth/errors.js";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";

const work = process.argv[2];
const stack = JSON.parse(fs.readFileSync(`${work}/stack.json`, "utf8"));
const endpoint = "127.0.0.1:18976";

function want(condition, what) {
  if (!condition) throw new Error(`failed: ${what}`);
  console.log(`ok: ${what}`);
}

// The MCP server trusts the authorization server of the stack, and takes only tokens that were made for itself.
const app = express();
const target = http.createServer(app);
await new Promise((done) => target.listen(0, "127.0.0.1", done));
const resource = new URL(`http://127.0.0.1:${target.address().port}/mcp`);
const discovered = await (await fetch(`${stack.issuer}/.well-known/openid-configuration`)).json();
const keys = createRemoteJWKSet(new URL(discovered.jwks_uri));
const accepted = [];
const verifier = {
  async verifyAccessToken(token) {
    const { payload } = await jwtVerify(token, keys, { issuer: stack.issuer, audience: resource.href }).catch((error) => {
      throw new InvalidTokenError(error.code ?? "not a token of this server");
    });
    accepted.push(payload);
    return { token, clientId: String(payload.azp), scopes: String(payload.scope ?? "").split(" "), expiresAt: payload.exp, resource };
  },
};
const metadata = getOAuthProtectedResourceMetadataUrl(resource);
app.get(new URL(metadata).pathname, (_, res) => res.json({ resource: resource.href, authorization_servers: [`http://${endpoint}`] }));
app.post("/mcp", express.json(), requireBearerAuth({ verifier, resourceMetadataUrl: metadata, expectedResource: resource }), async (req, res) => {
  const server = new McpServer({ name: "orders", version: "1" });
  server.registerTool("ping", { description: "answers" }, async () => ({ content: [{ type: "text", text: "pong" }] }));
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
  await server.connect(transport);
  await transport.handleRequest(req, res, req.body);
});

const log = fs.openSync(`${work}/mcp.log`, "w");
const serve = spawn(`${work}/vendctl`, ["--local", `${work}/stack.json`, "serve", "--listen", endpoint, "--local-secret-file", `${work}/mcp-secret`], { stdio: ["ignore", log, log] });
try {
  for (let i = 0; i < 200 && !(await fetch(`http://${endpoint}/healthz`).then(() => true, () => false)); i++) {
    await new Promise((done) => setTimeout(done, 50));
  }
  const secret = fs.readFileSync(`${work}/mcp-secret`, "utf8").trim();
  want(stack.clients.find((client) => client.name === "assertion").method === "private_key_jwt", "the vendor authenticates the client assertion with private_key_jwt");
  const provider = new ClientCredentialsProvider({ clientId: "assertion", clientSecret: secret, expectedIssuer: `http://${endpoint}` });
  const client = new Client({ name: "agent", version: "1" });
  await client.connect(new StreamableHTTPClientTransport(resource, { authProvider: provider }));
  const answer = await client.callTool({ name: "ping", arguments: {} });
  want(answer.content[0].text === "pong" && accepted.length > 0, "a client with the client_credentials extension of MCP finds vendctl serve by RFC 9728, and calls a tool");
  want([accepted[0].aud].flat().includes(resource.href), "the token is for the MCP server only (RFC 8707)");
  await client.close();

  const form = new URLSearchParams({ grant_type: "client_credentials", client_id: "assertion", client_secret: secret, resource: "https://other.example/mcp" });
  const other = await (await fetch(`http://${endpoint}/oauth2/token`, { method: "POST", body: form })).json();
  const refused = await fetch(resource, {
    method: "POST", body: "{}", headers: { "content-type": "application/json", authorization: `Bearer ${other.access_token}` },
  });
  want(other.access_token && refused.status === 401, "a token for another MCP server is refused");
} finally {
  serve.kill();
  target.close();
}

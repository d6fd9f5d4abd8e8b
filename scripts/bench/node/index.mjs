// A Lambda function in Node without packages, for comparison: the loop of the Runtime API,
// the reading of a client's secret, the exchange, and a token kept for each client. It signs
// nothing, which only the benchmark's Secrets Manager accepts.
import http from "node:http";
import https from "node:https";

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const agents = { "http:": new http.Agent({ keepAlive: true }), "https:": new https.Agent({ keepAlive: true }) };
const tokens = new Map(); // by client: { body, expiry in milliseconds }

// send resolves to the answer's status, headers and body.
function send(module, options, body) {
  return new Promise((resolve, reject) => {
    const request = module.request(options, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part) => (text += part));
      response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, text }));
    });
    request.on("error", reject);
    request.end(body);
  });
}

async function post(address, headers, body) {
  const url = new URL(address);
  const { status, text } = await send(url.protocol === "https:" ? https : http, {
    agent: agents[url.protocol], method: "POST", hostname: url.hostname, port: url.port, path: url.pathname + url.search,
    headers: { ...headers, "Content-Length": Buffer.byteLength(body) },
  }, body);
  if (status !== 200) throw new Error(`status ${status}`);
  return text;
}

async function token(client) {
  const kept = tokens.get(client);
  if (kept && Date.now() < kept.expiry) return kept.body;
  const secret = JSON.parse(await post(process.env.AWS_ENDPOINT_URL_SECRETS_MANAGER, {
    "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "secretsmanager.GetSecretValue", Authorization: "AWS4-HMAC-SHA256 Credential=none",
  }, JSON.stringify({ SecretId: process.env.SECRET_PREFIX + client })));
  const document = JSON.parse(secret.SecretString);
  const body = await post(document.token_endpoint, { "Content-Type": "application/x-www-form-urlencoded" }, new URLSearchParams({
    grant_type: "client_credentials", client_id: document.client_id, client_secret: document.client_secret,
  }).toString());
  tokens.set(client, { body, expiry: Date.now() + (JSON.parse(body).expires_in - 10) * 1000 });
  return body;
}

async function handle(event) {
  try {
    return { statusCode: 200, headers: { "Content-Type": "application/json" }, body: await token(event.pathParameters.client) };
  } catch {
    return { statusCode: 502 };
  }
}

const base = "/2018-06-01/runtime/invocation/";
for (;;) {
  const next = await send(http, { agent, host, port, path: `${base}next` });
  const answer = JSON.stringify(await handle(JSON.parse(next.text)));
  await send(http, {
    agent, host, port, method: "POST", path: `${base}${next.headers["lambda-runtime-aws-request-id"]}/response`,
    headers: { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(answer) },
  }, answer);
}

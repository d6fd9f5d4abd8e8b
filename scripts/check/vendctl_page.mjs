// Lets a web page in a browser try to get a token from vendctl serve, or to use a route. Called by scripts/check/vendctl with
// the directory of the programs and of stack.json, and the browser.
import { spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";

const [work, browser] = process.argv.slice(2);
const listen = "127.0.0.1:18977";
const port = listen.split(":")[1];
const reached = [];
const target = http.createServer((req, res) => {
  reached.push(req.url);
  res.writeHead(200, { "Access-Control-Allow-Origin": "*" }).end("data of the API");
});
await new Promise((done) => target.listen(0, "127.0.0.1", done));
const log = fs.openSync(`${work}/page.log`, "w");
const serve = spawn(`${work}/vendctl`, ["--local", `${work}/stack.json`, "serve", "--listen", listen, "--local-secret-file", `${work}/page-secret`,
  "--route", `api=demo@http://127.0.0.1:${target.address().port}/`], { stdio: ["ignore", log, log] });
for (let i = 0; i < 200 && !(await fetch(`http://${listen}/healthz`).then(() => true, () => false)); i++) {
  await new Promise((done) => setTimeout(done, 50));
}

// The page knows even the local secret, which is not the only protection. It sends its results back to its own server.
const secret = fs.readFileSync(`${work}/page-secret`, "utf8").trim();
const form = `grant_type=client_credentials&client_id=demo&client_secret=${secret}`;
const document = (endpoint) => `<!doctype html><title>page</title><iframe name="sink"></iframe><img id="image">
<form id="form" target="sink" method="post" action="${endpoint}/oauth2/token">${form.split("&").map((pair) => {
    const [name, value] = pair.split("=");
    return `<input name="${name}" value="${value}">`;
  }).join("")}</form>
<script>
const results = {};
async function attempt(name, url, options) {
  try {
    const answer = await fetch(url, options);
    const text = answer.type === "opaque" ? "" : await answer.text();
    results[name] = answer.status + (text.includes("access_token") || text.includes("data of") ? " SERVED" : "");
  } catch { results[name] = "failed"; }
}
(async () => {
  const post = { method: "POST", headers: { "Content-Type": "application/x-www-form-urlencoded" }, body: "${form}" };
  await attempt("fetch", "${endpoint}/oauth2/token", post);
  await attempt("fetch without CORS", "${endpoint}/oauth2/token", { ...post, mode: "no-cors" });
  await attempt("route", "${endpoint}/r/api/~${secret}/cors", {});
  await attempt("route without CORS", "${endpoint}/r/api/~${secret}/no-cors", { mode: "no-cors" });
  document.getElementById("image").src = "${endpoint}/r/api/~${secret}/image";
  document.getElementById("form").submit();
  setTimeout(() => fetch("/report", { method: "POST", body: JSON.stringify(results) }), 1000);
})();
</script>`;

// visit opens a page in the browser and returns its results.
async function visit(host, endpoint) {
  let report;
  const reported = new Promise((done) => { report = done; });
  const page = http.createServer((req, res) => {
    if (req.method === "POST") {
      let body = "";
      req.on("data", (part) => { body += part; });
      req.on("end", () => { res.end(); report(JSON.parse(body)); });
      return;
    }
    res.setHeader("Content-Type", "text/html");
    res.end(document(endpoint));
  });
  await new Promise((done) => page.listen(0, "127.0.0.1", done));
  const profile = fs.mkdtempSync(`${work}/profile-`);
  const chromium = spawn(browser, ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", `--user-data-dir=${profile}`,
    `--host-resolver-rules=MAP rebound.example 127.0.0.1`, "--remote-debugging-port=0", `http://${host}:${page.address().port}/`], { stdio: "ignore" });
  const ended = new Promise((done) => chromium.once("exit", done));
  const results = await Promise.race([reported, new Promise((done) => setTimeout(() => done(undefined), 60000).unref())]);
  chromium.kill("SIGKILL");
  await ended;
  page.close();
  page.closeAllConnections();
  if (!results) throw new Error("failed: the page did not report");
  return results;
}

try {
  // The second page has the name that leads to the endpoint, as after DNS rebinding: to the browser both are one site.
  for (const [host, endpoint] of [["127.0.0.1", `http://${listen}`], ["rebound.example", `http://rebound.example:${port}`]]) {
    const results = await visit(host, endpoint);
    for (const [name, got] of Object.entries(results)) {
      if (got.includes("SERVED") || got.startsWith("200")) throw new Error(`failed: a page at ${host} was served: ${name}: ${got}`);
    }
    console.log(`ok: a page at ${host} gets no token and reaches no route: ${Object.keys(results).join(", ")}, form, image`);
  }
  const metrics = await (await fetch(`http://${listen}/metrics`)).text();
  const refused = Number(/kind="refused",result="" } *(\d+)|kind="refused",result=""} (\d+)/.exec(metrics)?.slice(1).find(Boolean) ?? 0);
  if (refused < 8) throw new Error(`failed: the endpoint refused ${refused} requests, so that the pages did not reach it`);
  if (fs.readFileSync(`${work}/page.log`, "utf8").includes('"type":"token"') || reached.length > 0) throw new Error("failed: a page was served");
} finally {
  serve.kill();
  target.close();
}

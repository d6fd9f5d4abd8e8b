// Lets token-vendor.mjs carry out the commands of a run of behaviours.
import readline from "node:readline";
import { inspect } from "node:util";
import { TokenVendor, VendorError } from "../token-vendor.mjs";

let vendor;
let advanced = 0;

const commands = {
  start({ urls, region }) {
    advanced = 0;
    vendor = new TokenVendor(urls, { region, now: () => Date.now() / 1000 + advanced });
    return {};
  },
  advance({ seconds }) {
    advanced += seconds;
    return {};
  },
  async token({ client, ask, times = 1, beside }) {
    const result = { tokens: [], error: null, shown: "" };
    const get = async (ask) => {
      try {
        const token = await vendor.token(client, ask);
        result.tokens.push(token.fingerprint);
        result.shown += `${token} ${inspect(token, { showHidden: true })} ${JSON.stringify(token)}`;
      } catch (error) {
        if (!(error instanceof VendorError)) throw error;
        result.error = { status: error.status, code: error.code, retry_after: error.retryAfter };
        result.shown += `${error} ${inspect(error, { showHidden: true })} ${JSON.stringify(error)}`;
      }
    };
    await Promise.all([...Array(times).fill(ask), ...(beside ? [beside] : [])].map(get));
    return result;
  },
  async request({ client, ask, url, method, body, stream }) {
    const init = { method, body };
    if (stream) Object.assign(init, { body: new Blob([body]).stream(), duplex: "half" });
    const response = await vendor.fetch(client, ask)(url, init);
    await response.text();
    return { status: response.status };
  },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  console.log(JSON.stringify(await commands[command.do](command)));
}

// Calls /rpc by one of Node's JSON-RPC libraries: call.mjs LIBRARY plain|set URL TOKEN, with the work as JSON on stdin.
//
// Writes what the library says of it, as JSON; test/clients/calls.py has both.
import { text } from "node:stream/consumers";

const [library, , url, token] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
const work = JSON.parse(await text(process.stdin));
const said = {};
const failure = ({ code, message, data }) => ({ error: { code, message, data } });
const shown = (reply) => (reply.error ? failure(reply.error) : { result: reply.result });
const noted = (promise) => promise.then(() => null, (error) => String(error));

async function eachCall(one) {
  for (const part of ["calls", "named"]) {
    said[part] = [];
    for (const call of work[part]) said[part].push(await one(call));
  }
}

async function jsonRpc2() {
  const { JSONRPCClient, createJSONRPCRequest } = await import("json-rpc-2.0");
  const client = new JSONRPCClient(async (request) => {
    const reply = await fetch(url, { method: "POST", headers, body: JSON.stringify(request) });
    if (reply.status === 200) client.receive(await reply.json());
    else if (reply.status !== 204) throw new Error(reply.statusText);
  });
  const requests = (calls) => calls.map(({ method, params }, n) => createJSONRPCRequest(n + 1, method, params));
  await eachCall(({ method, params }) => client.request(method, params).then((result) => ({ result }), failure));
  said.batch = (await client.requestAdvanced(requests(work.batch))).map(shown);
  said.notification = null;
  // Not a promise: it calls `send`, whose promise is looked at here.
  const failed = new Promise((resolve) => process.on("unhandledRejection", (error) => resolve(String(error))));
  client.notify(work.notification.method, work.notification.params);
  said.notification = await Promise.race([failed, new Promise((resolve) => setTimeout(() => resolve(null), 1000))]);
}

async function jayson() {
  const { default: jayson } = await import("jayson/promise/index.js");
  const { hostname, port, pathname: path } = new URL(url);
  const client = jayson.Client.http({ hostname, port, path, headers });
  await eachCall(({ method, params }) =>
    client.request(method, params.length === 0 ? undefined : params).then(shown, (error) => ({ failed: String(error) })));
  const batch = work.batch.map(({ method, params }) => client.request(method, params, undefined, false));
  said.batch = (await client.request(batch)).map(shown);
  said.notification = await noted(client.request(work.notification.method, work.notification.params, null));
}

await { "json-rpc-2.0": jsonRpc2, jayson }[library]();
console.log(JSON.stringify(said));
process.exit(0);

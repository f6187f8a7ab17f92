// Prints the messages of category `wallet`, each stream in order.  Start several, and again after a crash.
const url = (process.env.MILLRACE_URL ?? "http://localhost:8080") + "/rpc";
const headers = { Authorization: `Bearer ${process.env.TOKEN}` };

// Sends it until there is an answer; a request that is refused is an error, but not for asking too much (429).
async function call(...request) {
  for (;;) {
    try {
      const signal = AbortSignal.timeout(90000);
      const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(request), signal });
      const text = await response.text();
      if (response.ok) return JSON.parse(text);
      if (response.status < 500 && response.status !== 429) return Promise.reject(new Error(text));
    } catch {
      // there is no answer
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

// What is to be done.  It may be done again, after a crash: this must do no harm.
async function handle(stream, position, data) {
  if (data.amount < 0) throw new Error("the amount is negative");
  console.log(stream, position, data.amount);
}

await call("consumer.create", "printer", { category: "wallet", leaseMs: 10000 });
let settle = [];
for (;;) {
  const answer = await call("consumer.next", "printer", { request: crypto.randomUUID(), settle });
  const failed = new Map();
  for (const [, stream, , position, , data] of answer.messages) {
    if (failed.has(stream)) continue; // it comes again, behind the one that failed
    try {
      await handle(stream, position, data);
    } catch (error) {
      failed.set(stream, { stream, position, error: error.message });
    }
  }
  settle = answer.claim ? [{ claim: answer.claim, failed: [...failed.values()] }] : [];
}

// Follows /subscribe by one of Node's libraries, as its manual shows it (plain) or as our page says (set).
//
//     stream.mjs LIBRARY plain|set URL TOKEN
//
// A line for each event: `event [TYPE, ID, LENGTH OF DATA]`.
const [library, how, url, token] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${token}` };
const withToken = `${url}&token=${token}`;
const pause = () => new Promise((resume) => setTimeout(resume, 500));
let last = "";

function show({ event, type, id, lastEventId, data }) {
  last = (id ?? lastEventId) || last;
  console.log("event", JSON.stringify([type ?? event ?? "message", id ?? lastEventId, data.length]));
}

function eventSource(EventSource, where, options) {
  const source = new EventSource(last ? `${where}&lastEventId=${last}` : where, options);
  source.addEventListener("message", show);
  source.addEventListener("error", (error) => {
    console.error("error", error.code, error.message, source.readyState);
    if (how === "set" && source.readyState === 2) // closed for good
      setTimeout(() => eventSource(EventSource, where, options), 500);
  });
}

const bearer = { fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...headers } }) };

async function parsed() {
  const { EventSourceParserStream } = await import("eventsource-parser/stream");
  const resume = last ? { "Last-Event-ID": last } : {};
  const reply = await fetch(url, { headers: { ...headers, ...resume } });
  if (!reply.ok) throw new Error(reply.status);
  const events = reply.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
  for await (const event of events) show(event);
}

const libraries = {
  "eventsource 3": async () => eventSource((await import("eventsource3")).EventSource, url, bearer),
  "eventsource 4": async () => eventSource((await import("eventsource4")).EventSource, url, bearer),
  undici: async () => {
    eventSource((await import("undici")).EventSource, withToken);
    if (how === "set") setInterval(() => {}, 1000); // the timer with which it comes again lets Node end
  },
  "eventsource-parser": async () => {
    while (how === "set") {
      await parsed().catch((error) => console.error(error.message));
      await pause();
    }
    await parsed();
  },
  "@microsoft/fetch-event-source": async () => {
    // It is made for browsers.
    globalThis.window = globalThis;
    globalThis.document = { removeEventListener() {} };
    const { fetchEventSource } = await import("@microsoft/fetch-event-source/lib/cjs/index.js");
    const plain = { headers, openWhenHidden: true, onmessage: show };
    if (how === "plain") return fetchEventSource(url, plain);
    await fetchEventSource(url, {
      ...plain,
      onmessage: (event) => event.data && show(event),
      async onopen(reply) {
        if (reply.status >= 400 && reply.status < 500) throw new TypeError(reply.status);
        if (!reply.ok) throw new Error(reply.status);
      },
      onclose() {
        throw new Error("it ended");
      },
      onerror(error) {
        if (error instanceof TypeError && /^4/.test(error.message)) throw error; // do not come again
      },
    });
  },
};

await libraries[library]();

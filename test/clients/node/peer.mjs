// Uses the functions of Message DB by one of Node's clients: peer.mjs LIBRARY set ADDRESS.
//
// A line for each part that went as it should: `good PART`; test/clients/peers.py has the parts.  It is `set`: reader and
// writer overlook the address and go to port 5432 of this machine, unless they are given their connections.
import { randomUUID as id } from "node:crypto";
import connector from "message-db-connector/lib/commonjs/index.js";
import database from "message-db-connector/lib/commonjs/message-db/index.js";

const { Levels, Message, MessageDbReader, MessageDbWriter, MessageStore, Subscription } = connector;
const category = `account${id().slice(0, 8)}`;
const stream = `${category}-1`;
const good = (part, ...truths) => (truths.every(Boolean) ? console.log("good", part) : console.error(part, truths));
const message = (streamName, type, data) => new Message({ id: id(), streamName, type, data, metadata: {} });

const reader = await MessageDbReader.Make({});
const writer = await MessageDbWriter.Make({});
reader.db = writer.db = await database.DB.Make({ pgConnectionConfig: { connectionString: process.argv[4] } });
const store = new MessageStore({ reader, writer, logLevel: Levels.Error });

await store.write(message(stream, "Opened", { owner: "Ada" }));
await store.write(message(stream, "Deposited", { amount: 10 }), 0);
good("append", (await store.getLastMessage(stream)).position === 1);
const refusal = await store.write(message(stream, "Deposited", { amount: 10 }), 0).catch((error) => error);
good("wrong version", refusal instanceof Error, /version/i.test(`${refusal.name} ${refusal.message}`));
const messages = await store.getStreamMessages(stream);
good("stream", messages.map(({ type }) => type).join() === "Opened,Deposited", messages[1].data.amount === 10);
await store.write(message(`${category}-2`, "Opened", {}));
good("category", (await store.getStreamMessages(category)).length === 3);
const last = await store.getLastMessage(stream);
good("last message", last.data.amount === 10, (await store.getLastMessage("none-1")) === null);

const projection = {
  name: "balance",
  init: { balance: 0 },
  handlers: { Deposited: (state, { data }) => ({ balance: state.balance + data.amount }) },
};
const handled = [];
const options = { messageStore: store, streamName: category, subscriberId: "watcher", batchSize: 1, intervalTimeMs: 20,
  logLevel: Levels.Error };
const subscription = new Subscription(options);
subscription.registerHandler(async ({ data }) => {
  handled.push(data.amount);
  subscription.signalStop();
}, "Deposited");
const balance = await store.fetch(stream, projection);
await subscription.start();
const position = await store.getLastMessage(`${category}+position-watcher`);
good("groups, projections, handlers", balance.balance === 10, handled.join() === "10", position.data.position > 0);
process.exit(0);

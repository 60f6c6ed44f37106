// The same over long-poll, where no WebSocket gets through.

import {
  APP, LongPoll, WebSocket, assert, assertGapFree, ask, channelName, clientName, collect, follow, join, openSocket, publish,
  publishOverHttp, push, refused, within,
} from "./kit.mjs";
import { newestOnly, scenario } from "./scenarios.mjs";

const overLongPoll = (user, more = {}) => openSocket(user, { transport: LongPoll, ...more });

scenario("over long-poll a client joins, publishes and hears others", async () => {
  const topic = channelName();
  const alice = overLongPoll("alice").channel(topic);
  const bob = openSocket("bob").channel(topic);
  await Promise.all([join(alice), join(bob)]);
  const atAlice = collect(alice, "event");
  const atBob = collect(bob, "event");
  const text = "Grüße\nund 😀 \u2028";
  await publish(alice, { text });
  await publish(bob, { text: "back" });
  await atAlice.until(2);
  await atBob.until(2);
  assert.deepEqual([...atAlice], [...atBob]);
  assert.deepEqual(atAlice.map(({ data, meta }) => [meta.user_id, data.text]), [["alice", text], ["bob", "back"]]);
});

// The 1.5 client sends each push in a request of its own, all at once.
newestOnly("over long-poll many pushes at once keep their order", async () => {
  const channel = overLongPoll("alice").channel(channelName());
  await join(channel);
  const events = collect(channel, "event");
  const replies = await Promise.all(Array.from({ length: 60 }, (_, n) => publish(channel, { n })));
  await events.until(60);
  assert.deepEqual(events.map(({ data }) => data.n), Array.from({ length: 60 }, (_, n) => n));
  assert.deepEqual(replies.map(({ seq }) => seq), events.map(({ seq }) => seq));
});

scenario("over long-poll a refused join says why", async () => {
  const response = await refused(join(overLongPoll("alice").channel("nosuchkind:x")));
  assert.equal(response.reason, "unknown_channel_kind");
});

scenario("over long-poll a bad token is refused", async () => {
  const socket = overLongPoll("unused", { params: { app_id: APP, token: "bad" }, reconnectAfterMs: () => 60_000 });
  const error = await within(new Promise((resolve) => socket.onError(resolve)), "an error");
  assert.ok(error === 403 || clientName === "phoenix-1-5"); // which does not say what it was
  assert.equal(socket.isConnected(), false);
});

scenario("over long-poll a session that went with its server is resumed", async () => {
  const topic = channelName();
  const followed = follow(overLongPoll("alice"), topic);
  await followed.joined();
  for (let n = 1; n <= 5; n += 1) await publish(followed.channel, { text: `${n}` });
  await ask("kill");
  await ask("start");
  for (let n = 6; n <= 9; n += 1) await publishOverHttp(topic, { text: `${n}` });
  await followed.untilText("9");
  assert.deepEqual(followed.events.map(({ data }) => data.text), ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
  assertGapFree(followed.events);
});

newestOnly("over long-poll an ArrayBuffer of JSON is a publish too", async () => {
  const channel = overLongPoll("alice").channel(channelName());
  await join(channel);
  const events = collect(channel, "event");
  const bytes = new TextEncoder().encode('{"type": "message", "data": {"text": "Zoë"}}');
  const reply = await push(channel, "publish", bytes.buffer);
  await events.until(1);
  assert.deepEqual([events[0].data.text, events[0].seq], ["Zoë", reply.seq]);
});

newestOnly("over long-poll the authToken goes in a header", async () => {
  const socket = overLongPoll("unused", { params: { app_id: APP }, authToken: "valid_token_carol" });
  const channel = socket.channel(channelName());
  const events = collect(channel, "event");
  await join(channel);
  await publish(channel, {});
  await events.until(1);
  assert.equal(events[0].meta.user_id, "carol");
});

newestOnly("where the WebSocket fails, longPollFallbackMs falls back to long-poll", async () => {
  class Blocked extends WebSocket {
    constructor(url, protocols) {
      super(url.replace("/socket/websocket", "/blocked"), protocols); // as a proxy that knows no upgrades
    }
  }
  const kept = new Map();
  const sessionStorage = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
  const socket = openSocket("alice", { transport: Blocked, longPollFallbackMs: 2000, sessionStorage });
  const channel = socket.channel(channelName());
  const events = collect(channel, "event");
  await join(channel);
  await publish(channel, { text: "through" });
  await events.until(1);
  assert.equal(socket.transport, LongPoll);
  assert.deepEqual([...kept], [["phx:fallback:LongPoll", "true"]]);
});

newestOnly("where the WebSocket works, longPollFallbackMs stays with it", async () => {
  const socket = openSocket("alice", { transport: WebSocket, longPollFallbackMs: 3000 });
  const channel = socket.channel(channelName());
  await join(channel);
  await within(new Promise((resolve) => socket.ping(resolve)), "a ping");
  assert.equal(socket.transport, WebSocket);
  assert.equal(socket.primaryPassedHealthCheck, true);
});

// What people do on a joined channel.

import {
  APP, assert, call, channelName, collect, join, openSocket, publish, publishOverHttp, push, refused, sleep, until,
  within,
} from "./kit.mjs";
import { newestOnly, scenario } from "./scenarios.mjs";

scenario("a join is answered with kind, epoch and seq", async () => {
  const reply = await join(openSocket("alice").channel(channelName(), {}));
  assert.equal(reply.kind, "room");
  assert.equal(reply.seq, 0);
  assert.match(reply.epoch, /^.+$/);
  assert.ok(!("recovered" in reply));
});

scenario("a publish is answered and arrives at everybody as the same event", async () => {
  const topic = channelName();
  const alice = openSocket("alice").channel(topic);
  const bob = openSocket("bob").channel(topic);
  await Promise.all([join(alice), join(bob)]);
  const atAlice = collect(alice, "event");
  const atBob = collect(bob, "event");
  const data = { text: "Grüße, \u2028 😀", list: [1, 1.5, null, true], deep: { "": {} } };
  const reply = await publish(alice, data);
  await atAlice.until(1);
  await atBob.until(1);
  assert.deepEqual([...atAlice], [...atBob]);
  const [event] = atBob;
  assert.deepEqual(event.data, data);
  assert.deepEqual(
    { id: event.id, seq: event.seq, ts: event.meta.ts }, { id: reply.id, seq: reply.seq, ts: reply.ts });
  assert.equal(event.app_id, APP);
  assert.equal(event.channel, topic);
  assert.equal(event.type, "message");
  assert.equal(event.meta.user_id, "alice");
  assert.equal(event.seq, 1);
});

scenario("a publish that repeats its id is answered as the first and delivered once", async () => {
  const channel = openSocket("alice").channel(channelName());
  await join(channel);
  const events = collect(channel, "event");
  const first = await publish(channel, { n: 1 }, { id: "order-1" });
  const again = await publish(channel, { n: 1 }, { id: "order-1" });
  const next = await publish(channel, { n: 2 });
  await events.until(2);
  assert.equal(first.id, "order-1");
  assert.deepEqual({ ...again, duplicate: undefined }, { ...first, duplicate: undefined });
  assert.equal(again.duplicate, true);
  assert.deepEqual(events.map(({ seq }) => seq), [first.seq, next.seq]);
});

scenario("self: false keeps a client's own publishes from coming back", async () => {
  const topic = channelName();
  const quiet = openSocket("alice").channel(topic, { self: false });
  const other = openSocket("bob").channel(topic);
  await Promise.all([join(quiet), join(other)]);
  const events = collect(quiet, "event");
  await publish(quiet, { text: "own" });
  await publish(other, { text: "other's" });
  await events.until(1);
  assert.deepEqual(events.map(({ data }) => data.text), ["other's"]);
});

scenario("a signal reaches who is there, has no seq and is in no history", async () => {
  const topic = channelName();
  const alice = openSocket("alice").channel(topic);
  const bob = openSocket("bob").channel(topic);
  await Promise.all([join(alice), join(bob)]);
  const signals = collect(bob, "signal");
  assert.deepEqual(await push(alice, "signal", { type: "typing", data: { on: true } }), {});
  const [signal] = await signals.until(1);
  assert.equal(signal.type, "typing");
  assert.deepEqual(signal.data, { on: true });
  assert.equal(signal.meta.user_id, "alice");
  assert.ok(!("seq" in signal));
  assert.deepEqual((await push(bob, "history", {})).events, []);
});

scenario("history comes in pages, always in seq order", async () => {
  const channel = openSocket("alice").channel(channelName());
  const { epoch } = await join(channel);
  for (let n = 1; n <= 7; n += 1) await publish(channel, { n });
  const seqs = ({ events }) => events.map(({ seq }) => seq);
  const newest = await push(channel, "history", { limit: 3 });
  assert.deepEqual([newest.epoch, newest.seq, seqs(newest), newest.more], [epoch, 7, [5, 6, 7], true]);
  const before = await push(channel, "history", { limit: 10, before: 5 });
  assert.deepEqual([seqs(before), before.more], [[1, 2, 3, 4], false]);
  const after = await push(channel, "history", { limit: 2, after: 3 });
  assert.deepEqual([seqs(after), after.more], [[4, 5], true]);
});

scenario("a join may ask for the newest events", async () => {
  const topic = channelName();
  for (let n = 1; n <= 5; n += 1) await publishOverHttp(topic, { n });
  const reply = await join(openSocket("alice").channel(topic, { history: 2 }));
  assert.deepEqual(reply.events.map(({ data }) => data.n), [4, 5]);
  assert.equal(reply.seq, 5);
});

scenario("a ticker's join brings a snapshot: the newest event of each type", async () => {
  const topic = channelName("ticker");
  const publishPrice = (type, price) => call("POST", `/apps/${APP}/channels/${topic}/publish`, { type, data: { price } });
  await publishPrice("AAPL", 1);
  await publishPrice("MSFT", 2);
  await publishPrice("AAPL", 3);
  const channel = openSocket("alice").channel(topic);
  const reply = await join(channel);
  assert.deepEqual(reply.snapshot.map(({ type, data }) => [type, data.price]), [["MSFT", 2], ["AAPL", 3]]);
  const events = collect(channel, "event");
  await publishPrice("MSFT", 4);
  await events.until(1);
  assert.equal(events[0].data.price, 4);
  assert.equal((await refused(publish(channel, { price: 5 }))).reason, "forbidden");
});

scenario("a join of no known kind is refused with the reason", async () => {
  const channel = openSocket("alice").channel("nosuchkind:x");
  const response = await refused(join(channel));
  assert.equal(response.reason, "unknown_channel_kind");
  assert.equal(typeof response.message, "string");
});

scenario("an unknown event is answered with an error and the channel lives on", async () => {
  const channel = openSocket("alice").channel(channelName());
  await join(channel);
  assert.equal((await refused(push(channel, "no_such_event", {}))).reason, "unknown_event");
  await publish(channel, { text: "still here" });
});

scenario("a publish that is no good is refused, naming the field", async () => {
  const channel = openSocket("alice").channel(channelName());
  await join(channel);
  const response = await refused(push(channel, "publish", { type: "not a type", data: 1 }));
  assert.equal(response.reason, "invalid");
  assert.equal(response.field, "type");
  const large = await refused(publish(channel, "x".repeat(70_000)));
  assert.deepEqual([large.reason, large.limit], ["payload_too_large", 65_536]);
});

scenario("a push whose payload is an ArrayBuffer of JSON is a publish like any other", async () => {
  const topic = channelName();
  const alice = openSocket("alice").channel(topic);
  const bob = openSocket("bob").channel(topic);
  await Promise.all([join(alice), join(bob)]);
  const events = collect(bob, "event");
  const bytes = new TextEncoder().encode('{"type": "message", "data": {"text": "Zoë", "n": 12345678901234567890}}');
  const reply = await push(alice, "publish", bytes.buffer);
  await events.until(1);
  assert.equal(events[0].data.text, "Zoë");
  assert.equal(events[0].seq, reply.seq);
  const refusal = await refused(push(alice, "publish", new Uint8Array([0, 255, 254]).buffer));
  assert.deepEqual([refusal.reason, refusal.field], ["invalid", "payload"]);
});

scenario("a left channel closes, and hears nothing more", async () => {
  const topic = channelName();
  const alice = openSocket("alice").channel(topic);
  const bob = openSocket("bob").channel(topic);
  await Promise.all([join(alice), join(bob)]);
  const atAlice = collect(alice, "event");
  const closed = new Promise((resolve) => alice.onClose(resolve));
  const left = new Promise((resolve) => alice.leave().receive("ok", resolve));
  await within(Promise.all([left, closed]), "the leave's answer");
  const atBob = collect(bob, "event");
  await publish(bob, { text: "alone" });
  await atBob.until(1);
  assert.equal(atAlice.length, 0);
});

scenario("joining a topic twice on one socket replaces the first", async () => {
  const topic = channelName();
  const socket = openSocket("alice");
  const first = socket.channel(topic);
  await join(first);
  const second = socket.channel(topic);
  await join(second);
  const events = collect(second, "event");
  await publish(second, { text: "once" });
  await publish(second, { text: "last" });
  await events.until(2);
  assert.deepEqual(events.map(({ data }) => data.text), ["once", "last"]);
  assert.equal(first.state, "closed");
});

scenario("a kick closes the channel, and the user may join again", async () => {
  const topic = channelName();
  const socket = openSocket("alice");
  const channel = socket.channel(topic);
  await join(channel);
  const closed = new Promise((resolve) => channel.onClose(resolve));
  await call("POST", `/apps/${APP}/channels/${topic}/kick`, { user: "alice" });
  await within(closed, "phx_close");
  await join(socket.channel(topic));
});

scenario("a signal to a user reaches each of its devices and nobody else", async () => {
  const topic = channelName();
  const phone = openSocket("alice").channel(topic);
  const desk = openSocket("alice").channel(topic);
  const bob = openSocket("bob").channel(topic);
  await Promise.all([join(phone), join(desk), join(bob)]);
  const [atPhone, atDesk, atBob] = [phone, desk, bob].map((channel) => collect(channel, "signal"));
  await call("POST", `/apps/${APP}/users/alice/signal`, { channel: topic, type: "ring", data: 1 });
  await atPhone.until(1);
  await atDesk.until(1);
  await push(phone, "signal", { type: "done", data: null });
  await atBob.until(1);
  assert.deepEqual(atBob.map(({ type }) => type), ["done"]);
});

scenario("access_token replaces the token of the same user, and no other's", async () => {
  const channel = openSocket("alice").channel(channelName());
  await join(channel);
  assert.deepEqual(await push(channel, "access_token", { access_token: "valid_token_alice" }), {});
  const other = await refused(push(channel, "access_token", { access_token: "valid_token_bob" }));
  assert.equal(other.reason, "forbidden");
  const bad = await refused(push(channel, "access_token", { access_token: "not a token" }));
  assert.equal(bad.reason, "unauthorized");
  await publish(channel, { text: "still here" });
});

scenario("heartbeats are answered", async () => {
  const socket = openSocket("alice", { heartbeatIntervalMs: 400 });  // also how long an answer may take
  let answers = 0;
  socket.onMessage(({ topic, event, payload }) => {
    if (topic === "phoenix" && event === "phx_reply" && payload.status === "ok") answers += 1;
  });
  let closed = 0;
  socket.onClose(() => { closed += 1; });
  await until(() => answers >= 3, "three heartbeats");
  assert.equal(closed, 0);
});

scenario("a refused token is tried again with what the app offers then", async () => {
  let token = "bad";
  const socket = openSocket("alice", { params: () => ({ app_id: APP, token }), reconnectAfterMs: () => 20 });
  let errors = 0;
  socket.onError(() => { errors += 1; });
  const channel = socket.channel(channelName());
  const joined = join(channel);
  await until(() => errors >= 2, "two refusals");
  token = "valid_token_alice";
  await joined;
});

newestOnly("authToken goes in a sub-protocol, not in the URL", async () => {
  const socket = openSocket("unused", { params: { app_id: APP }, authToken: "valid_token_carol" });
  const channel = socket.channel(channelName());
  const events = collect(channel, "event");
  await join(channel);
  await publish(channel, {});
  await events.until(1);
  assert.equal(events[0].meta.user_id, "carol");
  assert.ok(!socket.conn.url.includes("carol"));
  assert.equal(socket.conn.protocol, "phoenix");
});

newestOnly("a wrong authToken is refused at the connect", async () => {
  const socket = openSocket("unused", { params: { app_id: APP }, authToken: "wrong", reconnectAfterMs: () => 60_000 });
  const error = await within(new Promise((resolve) => socket.onError(resolve)), "an error");
  assert.match(error.message, /403/);
  await sleep(0);
  assert.equal(socket.isConnected(), false);
});

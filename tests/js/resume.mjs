// What a lost connection costs: nothing. The client reconnects and rejoins by itself, with the place it has seen.

import {
  APP, assert, assertGapFree, ask, call, channelName, follow, openSocket, operate, publish, publishOverHttp, push, sleep,
  until,
} from "./kit.mjs";
import { scenario } from "./scenarios.mjs";

scenario("a connection that is cut is resumed without a gap", async () => {
  const topic = channelName();
  const socket = openSocket("alice");
  const followed = follow(socket, topic);
  await followed.joined();
  await publishOverHttp(topic, { text: "1" });
  await followed.untilText("1");
  socket.conn.terminate(); // as a lost network: no closing handshake
  for (const text of ["2", "3", "4"]) await publishOverHttp(topic, { text });
  await followed.joined(2);
  await publishOverHttp(topic, { text: "5" });
  await followed.untilText("5");
  assert.deepEqual(followed.events.map(({ data }) => data.text), ["1", "2", "3", "4", "5"]);
  assertGapFree(followed.events);
  assert.equal(followed.replies[1].recovered, true);
});

scenario("what is missed beyond one reply follows as events, in order", async () => {
  const topic = channelName();
  const socket = openSocket("alice");
  const followed = follow(socket, topic);
  await followed.joined();
  socket.conn.terminate();
  const events = Array.from({ length: 900 }, (_, n) => ({ channel: topic, type: "message", data: { text: `${n}`, pad: "x".repeat(2000) } }));
  await fetchBatches(events); // 1.8 MB: more than a reply holds
  await followed.joined(2);
  await publishOverHttp(topic, { text: "after" });
  await followed.untilText("after");
  assert.equal(followed.events.length, 901);
  assertGapFree(followed.events);
  assert.equal(followed.replies[1].recovered, true);
  assert.ok(followed.replies[1].events.length < 900);
});

async function fetchBatches(events) {
  for (let start = 0; start < events.length; start += 300) {
    await call("POST", `/apps/${APP}/publish`, { events: events.slice(start, start + 300) });
  }
}

scenario("a place that never was is not resumed, and the newest events come instead", async () => {
  const topic = channelName();
  for (let n = 1; n <= 3; n += 1) await publishOverHttp(topic, { text: `${n}` });
  for (const since of [{ epoch: "another", seq: 1 }, { epoch: null, seq: 99 }]) {
    const socket = openSocket("alice");
    const probe = follow(socket, topic);
    await probe.joined();
    const channel = openSocket("alice").channel(topic, { since: { ...since, epoch: since.epoch ?? probe.epoch } });
    const reply = await new Promise((resolve, reject) => channel.join().receive("ok", resolve).receive("error", reject));
    assert.equal(reply.recovered, false);
    assert.deepEqual(reply.events.map(({ seq }) => seq), [1, 2, 3]);
  }
});

scenario("after kill -9 and a restart the client goes on where it was", async () => {
  const topic = channelName();
  const followed = follow(openSocket("alice"), topic);
  const other = follow(openSocket("bob"), topic);
  await followed.joined();
  await other.joined();
  for (let n = 1; n <= 20; n += 1) await publish(followed.channel, { text: `${n}` });
  const { epoch } = followed;
  await ask("kill");
  await ask("start");
  for (let n = 21; n <= 30; n += 1) await publishOverHttp(topic, { text: `${n}` });
  for (const one of [followed, other]) {
    await one.untilText("30");
    assert.deepEqual(one.events.map(({ data }) => data.text), Array.from({ length: 30 }, (_, n) => `${n + 1}`));
    assertGapFree(one.events);
    assert.equal(one.epoch, epoch);
  }
});

scenario("under load, every acknowledged event outlives kill -9 exactly once", async () => {
  const topic = channelName();
  const socket = openSocket("alice");
  const followed = follow(socket, topic);
  const watcher = follow(openSocket("bob"), topic);
  await followed.joined();
  await watcher.joined();
  const acknowledged = new Map();
  let sent = 0;
  // What got no answer is sent again under its id, as an app does.
  const send = async (n, id) => {
    for (;;) {
      try {
        // What was on its way when the connection broke is never answered, hence the short timeout.
        const { seq } = await push(followed.channel, "publish", { type: "message", data: { text: `${n}` }, id }, 2000);
        acknowledged.set(id, seq);
        return;
      } catch (error) {
        if (error.response && error.response.reason !== "rate_limited") throw error;
        await sleep(error.response?.retry_after_ms ?? 0);
      }
    }
  };
  let going = true;
  const load = (async () => {
    const all = [];
    while (going) {
      sent += 1;
      all.push(send(sent, `load-${sent}`));
      await sleep(15);
    }
    await Promise.all(all);
  })();
  await until(() => acknowledged.size > 20, "events under way");
  await ask("kill");
  await ask("start");
  await until(() => acknowledged.size > 40, "events after the restart");
  going = false;
  await load;
  await publishOverHttp(topic, { text: "last" });
  for (const one of [followed, watcher]) {
    await one.untilText("last");
    assertGapFree(one.events);
    const seqs = new Map(one.events.map(({ id, seq }) => [id, seq]));
    assert.equal(seqs.size, one.events.length);
    for (const [id, seq] of acknowledged) assert.equal(seqs.get(id), seq);
    assert.equal(one.events.length, sent + 1);
  }
});

scenario("a drain is announced, and the client comes back to the next daemon", async () => {
  const topic = channelName();
  const socket = openSocket("alice");
  const followed = follow(socket, topic);
  await followed.joined();
  await publish(followed.channel, { text: "before" });
  const notices = [];
  followed.channel.on("system", (notice) => notices.push(notice.code));
  const codes = [];
  socket.onClose(({ code }) => codes.push(code));
  assert.equal(await ask("stop"), 0);
  assert.deepEqual(notices, ["draining"]);
  await until(() => codes.length > 0, "a close");
  assert.equal(codes[0], 1012);
  await ask("start");
  await publishOverHttp(topic, { text: "after" });
  await followed.untilText("after");
  assert.deepEqual(followed.events.map(({ data }) => data.text), ["before", "after"]);
});

scenario("a new epoch is told by phx_error, and the client rejoins into it", async () => {
  const kind = `flip${process.pid}`;
  await operate("PATCH", `/kinds/${kind}`, { join: "any", publish: "any", durability: "logged" });
  const topic = channelName(kind);
  const followed = follow(openSocket("alice"), topic);
  await followed.joined();
  await publish(followed.channel, { text: "old" });
  const before = followed.epoch;
  await operate("PATCH", `/kinds/${kind}`, { durability: "memory" });
  await followed.joined(2);
  assert.notEqual(followed.epoch, before);
  assert.equal(followed.replies[1].recovered, false);
  await publish(followed.channel, { text: "new" });
  await followed.untilText("new");
  assert.equal((await push(followed.channel, "history", {})).epoch, followed.epoch);
});

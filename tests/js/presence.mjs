// Who is there, as the client's Presence class tells it.

import { APP, Presence, assert, call, channelName, join, openSocket, push, until } from "./kit.mjs";
import { scenario } from "./scenarios.mjs";

const shown = (presence) => Object.fromEntries(presence.list((user, { metas }) => [user, metas.length]));

async function shows(presence, expected) {
  const wanted = JSON.stringify(Object.entries(expected).sort());
  const same = () => JSON.stringify(Object.entries(shown(presence)).sort()) === wanted;
  await until(same, `who is there: ${wanted}`).catch((error) => {
    throw new Error(`${error.message}, but ${JSON.stringify(shown(presence))}`);
  });
}

scenario("Presence shows who comes and goes, devices too", async () => {
  const topic = channelName();
  const channel = openSocket("alice").channel(topic);
  const presence = new Presence(channel);
  const came = [];
  const went = [];
  presence.onJoin((user) => came.push(user));
  presence.onLeave((user) => went.push(user));
  await join(channel);
  await shows(presence, { alice: 1 });

  const phone = openSocket("bob");
  await join(phone.channel(topic));
  await shows(presence, { alice: 1, bob: 1 });
  const desk = openSocket("bob");
  await join(desk.channel(topic));
  await shows(presence, { alice: 1, bob: 2 });

  phone.disconnect();
  await shows(presence, { alice: 1, bob: 1 });
  desk.disconnect();
  await shows(presence, { alice: 1 });
  assert.deepEqual(came.filter((user) => user === "bob"), ["bob", "bob"]);
  assert.deepEqual(went.filter((user) => user === "bob"), ["bob", "bob"]);
});

scenario("everybody sees the same, and so do the push and the HTTP API", async () => {
  const topic = channelName();
  const users = ["alice", "bob", "carol"];
  const channels = users.map((user) => openSocket(user).channel(topic));
  const presences = channels.map((channel) => new Presence(channel));
  await Promise.all(channels.map(join));
  for (const presence of presences) await shows(presence, { alice: 1, bob: 1, carol: 1 });
  const pushed = (await push(channels[0], "presence", {})).presence;
  const called = (await call("GET", `/apps/${APP}/channels/${topic}/presence`)).presence;
  assert.deepEqual(Object.keys(pushed).sort(), users);
  assert.deepEqual(called, pushed);
  const refs = Object.values(pushed).map(({ metas }) => metas[0].phx_ref);
  assert.equal(new Set(refs).size, 3);
});

scenario("presence_update changes what others see of one device", async () => {
  const topic = channelName();
  const alice = openSocket("alice").channel(topic);
  const bob = openSocket("bob").channel(topic);
  const presence = new Presence(alice);
  await Promise.all([join(alice), join(bob)]);
  await shows(presence, { alice: 1, bob: 1 });
  assert.deepEqual(await push(bob, "presence_update", { info: { status: "away" } }), {});
  const info = () => presence.list((user, { metas }) => [user, metas[0].info]).find(([user]) => user === "bob")[1];
  await until(() => info()?.status === "away", "bob's new info");
  await shows(presence, { alice: 1, bob: 1 });
});

scenario("a kind that only counts tells a number", async () => {
  const topic = channelName("post");
  const channels = ["alice", "bob"].map((user) => openSocket(user).channel(topic));
  const presence = new Presence(channels[0]);
  await Promise.all(channels.map(join));
  const counted = () => presence.list((user, { metas }) => [user, metas[0].count]);
  await until(() => JSON.stringify(counted()) === '[["",2]]', "a count of two").catch((error) => {
    throw new Error(`${error.message}, but ${JSON.stringify(counted())}`);
  });
});

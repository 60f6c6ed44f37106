// The chat example and EventSource in a real Chromium, driven by puppeteer. Pictures of the page go to test-results/.

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join as pathOf } from "node:path";
import { fileURLToPath } from "node:url";
import puppeteer from "puppeteer-core";

import {
  APP, assert, ask, call, channelName, join, openSocket, operate, publish, publishOverHttp, push, sleep, until, url,
} from "./kit.mjs";
import { newestOnly } from "./scenarios.mjs";

const PICTURES = fileURLToPath(new URL("../../test-results/", import.meta.url));
const ARGUMENTS = [
  "--no-sandbox", // it may run as root
  "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
];
// A browser writes these by itself while the daemon is away.
const LOST_CONNECTION = /WebSocket connection to .* failed|net::ERR_CONNECTION_REFUSED|net::ERR_INCOMPLETE_CHUNKED_ENCODING/;

async function inBrowser(run) {
  const profile = await mkdtemp(pathOf(tmpdir(), "polyglot-chromium-"));
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: ARGUMENTS, userDataDir: profile,
  });
  const wrong = [];
  const open = async (path) => {
    const page = await browser.newPage();
    page.on("pageerror", (error) => wrong.push(`${error.stack ?? error}`));
    page.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
    await page.setViewport({ width: 1280, height: 800 });
    await page.goto(url.replace("127.0.0.1", "localhost") + path, { waitUntil: "load" });
    return page;
  };
  try {
    await run({ browser, open, wrong });
  } finally {
    await browser.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  }
  return wrong;
}

// ---------------------------------------------------------------- the chat page

const openChat = async (open, user, room) => {
  const page = await open(`/examples/chat_example.html?user=${user}&room=${room}`);
  await state(page, "open");
  return page;
};
const state = (page, wanted) => page.waitForFunction((value) => document.getElementById("status").dataset.state === value, {}, wanted);
const texts = (page) => page.$$eval(".message .text", (nodes) => nodes.map((node) => node.textContent));
const people = (page) => page.$$eval("#people .who", (nodes) => nodes.map((node) => node.textContent));
const shows = (page, wanted, read = texts) => {
  let last;
  return until(async () => JSON.stringify(last = await read(page)) === JSON.stringify(wanted), JSON.stringify(wanted))
    .catch((error) => { throw new Error(`${error.message}, but ${JSON.stringify(last)}`); });
};
async function say(page, text) {
  await page.bringToFront();
  await page.type("#text", text);
  await page.keyboard.press("Enter");
}

newestOnly("in Chromium two people see each other come, type, write and go", async () => {
  const room = channelName().slice("room:".length);
  const wrong = await inBrowser(async ({ open }) => {
    const alice = await openChat(open, "alice", room);
    const bob = await openChat(open, "bob", room);
    await shows(alice, ["alice (you)", "bob"], people);
    await shows(bob, ["alice", "bob (you)"], people);

    await alice.bringToFront();
    await alice.type("#text", "Hel");
    await bob.bringToFront();
    await bob.waitForFunction(() => document.getElementById("typing").textContent === "alice is typing…");
    await say(alice, "lo, Bob <b>&amp; co</b>");
    await shows(bob, ["Hello, Bob <b>&amp; co</b>"]);
    await bob.waitForFunction(() => document.getElementById("typing").textContent === "");
    await say(bob, "Hello 😀");
    for (const page of [alice, bob]) await shows(page, ["Hello, Bob <b>&amp; co</b>", "Hello 😀"]);
    assert.equal(await alice.$$eval(".message.waiting, .message.failed", (nodes) => nodes.length), 0);

    await bob.reload({ waitUntil: "load" });
    await shows(bob, ["Hello, Bob <b>&amp; co</b>", "Hello 😀"]);
    await publishOverHttp(`room:${room}`, { text: "from the API" });
    for (const page of [alice, bob]) await shows(page, ["Hello, Bob <b>&amp; co</b>", "Hello 😀", "from the API"]);

    // Another room and back: each has its own messages.
    await bob.type("#room", `${room}-2`);
    await bob.keyboard.press("Enter");
    await shows(bob, []);
    await shows(alice, ["alice (you)"], people);
    await say(bob, "elsewhere");
    await shows(bob, ["elsewhere"]);
    await bob.goBack();
    await shows(bob, ["Hello, Bob <b>&amp; co</b>", "Hello 😀", "from the API"]);
    await bob.close();
    await shows(alice, ["alice (you)"], people);
    await shows(alice, ["Hello, Bob <b>&amp; co</b>", "Hello 😀", "from the API"]);
  });
  assert.deepEqual(wrong, []);
});

newestOnly("in Chromium nothing is lost or repeated when the daemon is killed and comes back", async () => {
  const room = channelName().slice("room:".length);
  const wrong = await inBrowser(async ({ open, wrong }) => {
    const alice = await openChat(open, "alice", room);
    const bob = await openChat(open, "bob", room);
    await say(alice, "1");
    await say(bob, "2");
    for (const page of [alice, bob]) await shows(page, ["1", "2"]);
    assert.deepEqual(wrong, []);

    await ask("kill");
    await alice.waitForFunction(() => document.getElementById("status").dataset.state !== "open");
    await say(alice, "3"); // waits in the page
    await until(async () => (await alice.$$(".message.waiting")).length === 1, "a waiting message");
    await ask("start");
    await publishOverHttp(`room:${room}`, { text: "4" });
    for (const page of [alice, bob]) {
      await page.bringToFront();
      await state(page, "open");
      await until(async () => (await texts(page)).length === 4, "all messages");
      assert.deepEqual((await texts(page)).sort(), ["1", "2", "3", "4"]);
    }
    assert.deepEqual(await texts(alice), await texts(bob));
    await shows(bob, ["alice", "bob (you)"], people);
    await say(bob, "5");
    for (const page of [alice, bob]) await until(async () => (await texts(page)).at(-1) === "5", "the last message");
    assert.equal((await texts(alice)).length, 5);
  });
  assert.deepEqual(wrong.filter((text) => !LOST_CONNECTION.test(text)), []);
});

newestOnly("in Chromium the page looks as it should, wide and narrow, light and dark", async () => {
  await mkdir(PICTURES, { recursive: true });
  const room = "room:lobby";
  const others = {};
  for (const user of ["bruno", "chiara", "dmitri", "emeka"]) {
    others[user] = openSocket(user).channel(room);
    await join(others[user]);
  }
  await publish(others.bruno, { text: "Morning! Is the new build out?" });
  await publish(others.chiara, { text: "Since ten minutes ago. Release notes:\n– channels resume after a lost connection\n– presence counts large rooms\n– a quicker start" });
  await publish(others.dmitri, { text: "Tried it on the train: three tunnels, not one message missing." });
  await call("POST", `/apps/${APP}/channels/${room}/publish`, { type: "message", data: { text: "Deploy 4711 finished: all checks green" } });
  const wrong = await inBrowser(async ({ open }) => {
    const page = await openChat(open, "alice", "lobby");
    await say(page, "Lovely. I'll tell the others.");
    await say(page, "By the way, https://example.org/a-very-long-address-without-any-place-to-break-it-because-some-addresses-are-like-that works too.");
    await publish(others.emeka, { text: "Same here." });
    await until(async () => (await texts(page)).length === 7, "the conversation");
    for (const [width, height, name] of [[1280, 800, "desktop"], [390, 844, "phone"]]) {
      for (const scheme of ["light", "dark"]) {
        await page.setViewport({ width, height, deviceScaleFactor: name === "phone" ? 2 : 1 });
        await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
        await push(others.bruno, "signal", { type: "typing", data: null });
        await page.waitForFunction(() => document.getElementById("typing").textContent === "bruno is typing…");
        await page.waitForFunction(() => {
          const list = document.getElementById("messages");
          return list.scrollHeight - list.scrollTop - list.clientHeight < 2; // the newest message is in sight
        });
        const spills = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth || document.documentElement.scrollHeight > innerHeight);
        assert.equal(spills, false, `the page is wider or higher than the ${name}'s window`);
        await page.screenshot({ path: `${PICTURES}chat-${name}-${scheme}.png` });
      }
    }
    const nameless = await page.$$eval("input, button, [role=img]", (nodes) => nodes.filter((node) => !(node.labels?.length || node.ariaLabel || node.textContent.trim())).map((node) => node.outerHTML));
    assert.deepEqual(nameless, []);
  });
  assert.deepEqual(wrong, []);
});

newestOnly("in Chromium what was written yesterday is there for who scrolls up", async () => {
  await mkdir(PICTURES, { recursive: true });
  const room = channelName().slice("room:".length);
  const people = ["bruno", "chiara", "dmitri"];
  const day = (back, hour) => { const time = new Date(); time.setDate(time.getDate() - back); time.setHours(hour, 0, 0, 0); return time.getTime(); };
  const at = (n) => (n < 65 ? day(2, 12) : day(1, 0)) + n * 60_000; // the older half is older than what a room keeps at hand
  const before = Array.from({ length: 130 }, (_, n) => ({
    id: `past-${n}`, type: "message", user_id: people[Math.floor(n / 3) % 3], data: JSON.stringify({ text: `message ${n}` }),
    ts: new Date(at(n)).toISOString(),
  }));
  const { results } = await operate("POST", "/events/import", { runs: [{ channel: `room:${room}`, epoch: "yesterday1", first_seq: 1, events: before }] });
  assert.deepEqual(results, [{ imported: 130, duplicates: 0 }]);
  const wrong = await inBrowser(async ({ open }) => {
    const page = await openChat(open, "alice", room);
    const past = (from, to = 129) => Array.from({ length: to - from + 1 }, (_, n) => `message ${from + n}`);
    await until(async () => (await texts(page)).length >= 50, "the newest of before");
    assert.deepEqual((await texts(page)).slice(-50), past(80));
    await say(page, "Good morning");
    await until(async () => (await texts(page)).at(-1) === "Good morning", "today's first message");

    await page.hover("#messages");
    for (let shown = await page.$$eval(".message", (nodes) => nodes.length); shown < 131;) {
      // Whoever reads keeps his place while older messages come in above.
      const moved = await page.evaluate(async () => {
        const list = document.getElementById("messages");
        const first = [...list.querySelectorAll(".message")][3];
        const count = list.querySelectorAll(".message").length;
        list.scrollTop = 0;
        const at = first.getBoundingClientRect().top;
        while (list.querySelectorAll(".message").length === count) await new Promise((done) => requestAnimationFrame(done));
        return Math.abs(first.getBoundingClientRect().top - at);
      });
      assert.ok(moved < 2, `what was read moved by ${moved} px`);
      shown = await page.$$eval(".message", (nodes) => nodes.length);
    }
    assert.deepEqual(await texts(page), [...past(0), "Good morning"]);
    assert.equal((await page.$$(".older")).length, 0);
    const days = await page.$$eval(".line", (nodes) => nodes.map((node) => node.textContent));
    assert.ok(days.includes("Yesterday") && days.at(-1) === "Today", `${days}`);
    await publishOverHttp(`room:${room}`, { text: "Anybody there?" }); // one who reads above stays there
    await until(async () => (await texts(page)).at(-1) === "Anybody there?", "another message");
    assert.ok(await page.$eval("#messages", (list) => list.scrollTop) < 5000 && !(await page.$eval("#messages", (list) => list.scrollHeight - list.scrollTop - list.clientHeight < 80)));
    for (const [width, height, name] of [[1280, 800, "desktop"], [390, 844, "phone"]]) {
      await page.setViewport({ width, height });
      await page.$$eval(".line", (nodes) => nodes.at(-1).scrollIntoView({ block: "center" }));
      await page.screenshot({ path: `${PICTURES}chat-yesterday-${name}.png` });
    }
    // A second look at the room has only its newest page, and the rest again on demand.
    await page.reload({ waitUntil: "load" });
    await until(async () => (await texts(page)).at(-1) === "Anybody there?", "the newest");
    assert.ok((await texts(page)).length < 131);
  });
  assert.deepEqual(wrong, []);
});

// ---------------------------------------------------------------- EventSource

// The page collects what its EventSource tells.
const listen = (page, path) => page.evaluate((path) => {
  globalThis.told = [];
  globalThis.source = new EventSource(path);
  for (const name of ["open", "message", "reset", "error"]) {
    globalThis.source.addEventListener(name, ({ data, lastEventId }) => globalThis.told.push({ name, data: data && JSON.parse(data), id: lastEventId }));
  }
}, path);
const told = (page, name) => page.evaluate((name) => globalThis.told.filter((one) => one.name === name), name);
const seqs = async (page) => (await told(page, "message")).map(({ data }) => data.seq);

newestOnly("in Chromium an EventSource goes on by itself after the daemon was killed", async () => {
  const topic = channelName();
  await operate("POST", "/secrets", {});
  const { token } = await operate("POST", "/tokens", { user: "eve", ttl_s: 300 });
  const wrong = await inBrowser(async ({ open }) => {
    const page = await open("/examples/chat_example.html");
    await listen(page, `/apps/${APP}/channels/${topic}/events?token=${token}`);
    await until(async () => (await told(page, "open")).length === 1, "an open stream");
    for (let n = 1; n <= 3; n += 1) await publishOverHttp(topic, { n });
    await until(async () => (await seqs(page)).length === 3, "three events");
    const [first] = await told(page, "message");
    assert.equal(first.id.split(":").at(-1), "1");
    assert.equal(first.data.channel, topic);
    await ask("kill");
    await until(async () => (await told(page, "error")).length > 0, "an error");
    await ask("start");
    for (let n = 4; n <= 6; n += 1) await publishOverHttp(topic, { n });
    await until(async () => (await seqs(page)).length >= 6, "the other three");
    await sleep(100);
    assert.deepEqual(await seqs(page), [1, 2, 3, 4, 5, 6]);
    assert.deepEqual(await told(page, "reset"), []);
  });
  assert.deepEqual(wrong.filter((text) => !LOST_CONNECTION.test(text)), []);
});

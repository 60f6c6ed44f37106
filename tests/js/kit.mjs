// What the scenarios share: the Phoenix client of the wanted version, promises for its callbacks, and the test that
// started us, which owns the daemon. See run.mjs for how they are run.

import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import WebSocket from "ws";
import { XMLHttpRequest } from "./xhr.mjs";

export { assert, WebSocket };

export const PATIENCE_MS = 30000; // for what has to come; a scenario that waits as long has failed
export const APP = "chat-app";
const KEY = "valid_key_chat-app";

export const options = Object.fromEntries(process.argv.slice(2).map((word) => word.split(/=(.*)/s, 2)));
export const url = options.url;
export const clientName = options.client;

// phoenix.js looks for these two as a browser has them.
globalThis.self = globalThis;
globalThis.WebSocket = WebSocket;
if (clientName === "phoenix-1-5") globalThis.XMLHttpRequest = XMLHttpRequest;
const client = await import(clientName);
export const { Socket, Presence, LongPoll } = client.Socket ? client : client.default;

// ---------------------------------------------------------------- promises

export function within(promise, what, ms = PATIENCE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing came within ${ms} ms: ${what}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function until(condition, what, ms = PATIENCE_MS) {
  const end = Date.now() + ms;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not so within ${ms} ms: ${what}`);
    await sleep(10);
  }
}

// ---------------------------------------------------------------- the client

const sockets = [];

// A connected socket of `user`; `params` may be a function, as the client allows.
export function openSocket(user, more = {}) {
  const socket = new Socket(`${url.replace("http", "ws")}/socket`, {
    params: { app_id: APP, token: `valid_token_${user}` }, ...more,
  });
  socket.connect();
  sockets.push(socket);
  return socket;
}

export function closeSockets() {
  for (const socket of sockets) socket.disconnect();
}

// A channel that no other scenario uses.
let channels = 0;
export function channelName(kind = "room") {
  channels += 1;
  return `${kind}:js-${process.pid}-${Date.now()}-${channels}`;
}

function answered(push, what) {
  return within(new Promise((resolve, reject) => {
    push.receive("ok", resolve)
      .receive("error", (response) => reject(Object.assign(new Error(`${what} was refused: ${JSON.stringify(response)}`), { response })))
      .receive("timeout", () => reject(new Error(`${what} got no answer`)));
  }), what);
}

export const join = (channel) => answered(channel.join(), "the join");
export const push = (channel, event, payload, timeoutMs) => answered(channel.push(event, payload, timeoutMs), event);
export const publish = (channel, data, more = {}) => push(channel, "publish", { type: "message", data, ...more });

// The error reply of a push or join that must be refused.
export async function refused(promise) {
  try {
    await promise;
  } catch (error) {
    if (error.response) return error.response;
    throw error;
  }
  throw new Error("it was not refused");
}

// All payloads of an event on a channel, from now on.
export function collect(channel, event) {
  const payloads = [];
  channel.on(event, (payload) => payloads.push(payload));
  payloads.until = (count) =>
    until(() => payloads.length >= count, `${count} × ${event}, there were ${payloads.length}`).then(() => payloads);
  return payloads;
}

// What a page does to miss nothing: it remembers the place of the last event and joins with it.
export function follow(socket, topic, params = {}) {
  const followed = { epoch: null, seq: 0, events: [], replies: [] };
  const channel = socket.channel(topic, () =>
    followed.epoch === null ? params : { ...params, since: { epoch: followed.epoch, seq: followed.seq } });
  const take = (event) => {
    followed.events.push(event);
    followed.seq = event.seq;
  };
  channel.on("event", take);
  channel.join().receive("ok", (reply) => {
    followed.replies.push(reply);
    if (followed.epoch === null) followed.seq = reply.seq;
    followed.epoch = reply.epoch;
    (reply.events ?? []).forEach(take);
  });
  followed.channel = channel;
  followed.joined = (times = 1) => until(() => followed.replies.length >= times, `${times} joins, there were ${followed.replies.length}`);
  followed.untilText = (text) => until(() => followed.events.some((event) => event.data.text === text), `an event "${text}"`);
  return followed;
}

// Every seq from the first to the last, each once.
export function assertGapFree(events) {
  assert.deepEqual(events.map(({ seq }) => seq), events.map((_, index) => events[0].seq + index));
}

// ---------------------------------------------------------------- the HTTP API and the daemon

export async function call(method, path, body, { key = KEY, bearer } = {}) {
  const response = await fetch(url + path, {
    method,
    headers: {
      ...(bearer ? { Authorization: `Bearer ${bearer}` } : { "X-API-Key": key }),
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
  return text ? JSON.parse(text) : null;
}

export const publishOverHttp = (topic, data, more = {}) =>
  call("POST", `/apps/${APP}/channels/${topic}/publish`, { type: "message", data, ...more });

// An operator's call, with the token that `serve` left in its data directory.
export async function operate(method, path, body) {
  return call(method, `/admin/apps/${APP}${path}`, body, { bearer: await ask("admin-token") });
}

const said = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

// Have the test do something with the daemon: "kill" (-9), "stop" (drain), "start", "admin-token".
export async function ask(what) {
  process.stdout.write(`${JSON.stringify({ please: what })}\n`);
  return JSON.parse((await said.next()).value);
}

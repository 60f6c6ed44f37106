// A chat on Polyglot with the unmodified `phoenix` client: rooms, presence, typing signals, history, and a reconnect
// that misses nothing. Everything that is Polyglot's own is in `openRoom` and `send`.

const query = new URLSearchParams(location.search);
const APP_ID = query.get("app") ?? "chat-app";
const HISTORY = 50; // messages shown when a room is opened for the first time, and each time somebody scrolls up
const SHOWN_MAX = 500; // messages kept in the page for each room
const OLDER_FROM_PX = 200; // so near to the top, older messages are asked for
const TYPING_EVERY_MS = 2000;
const TYPING_SHOWN_MS = 3500;
const REMOVED = "This message was removed.";
const TOGETHER_MS = 5 * 60 * 1000; // a person's messages within this time stand under one name

const { Socket, Presence } = await loadPhoenix();

// From the daemon where npm installed it, else from a public CDN.
async function loadPhoenix() {
  try {
    return await import("/examples/vendor/phoenix.mjs");
  } catch {
    return await import("https://cdn.jsdelivr.net/npm/phoenix@1.8/+esm");
  }
}

const element = (id) => document.getElementById(id);
const rooms = new Map(); // name -> {name, epoch, seq, messages, older}; older: "more", "loading" or "none"
let drawn = new WeakMap(); // message -> {look, node}: what does not change is not drawn again
const days = new Map(); // date -> the line that stands above its messages
let me = query.get("user") ?? sessionStorage.getItem("me") ?? `guest-${Math.floor(Math.random() * 900 + 100)}`;
let socket;
let current; // {room, channel, presence}
const typing = new Map(); // user -> timer

// ---------------------------------------------------------------- the connection

function connect() {
  socket?.disconnect();
  sessionStorage.setItem("me", me);
  element("me").value = me;
  drawn = new WeakMap();
  // In development mode `valid_token_NAME` is a token of user NAME; elsewhere your backend signs one (?token=…).
  const token = query.get("token") ?? `valid_token_${me}`;
  socket = new Socket("/socket", { params: { app_id: APP_ID, token } });
  socket.onOpen(() => setStatus("open", "Connected"));
  socket.onClose(() => setStatus("connecting", "Connection lost, reconnecting…"));
  socket.onError(() => setStatus("closed", "No connection, trying again…"));
  socket.connect();
  openRoom(current?.room.name ?? roomInAddress());
}

function setStatus(state, text) {
  element("status").dataset.state = state;
  element("status-text").textContent = text;
}

// ---------------------------------------------------------------- a room

const roomInAddress = () => new URLSearchParams(location.search).get("room") ?? "lobby";

function goTo(name) {
  const address = new URL(location);
  address.searchParams.set("room", name);
  history.pushState(null, "", address);
  openRoom(name);
}

function roomNamed(name) {
  if (!rooms.has(name)) rooms.set(name, { name, epoch: null, seq: 0, messages: [], older: "none" });
  return rooms.get(name);
}

function openRoom(name) {
  const room = roomNamed(name);
  current?.channel.leave();
  clearTyping();
  atEnd = true;

  // The params are asked for at every join, also at the rejoin after a lost connection: with `since`, the server
  // sends what was missed, in order and once.
  const channel = socket.channel(`room:${name}`, () =>
    room.epoch === null ? { history: HISTORY } : { since: { epoch: room.epoch, seq: room.seq } });
  const presence = new Presence(channel);
  current = { room, channel, presence };

  presence.onSync(() => showPeople(presence));
  channel.on("event", (event) => received(room, event));
  channel.on("erased", (what) => erased(room, what));
  channel.on("signal", (signal) => signal.type === "typing" && showTyping(signal.meta.user_id));
  channel.on("system", (notice) => setStatus("connecting", notice.message));
  channel.join()
    .receive("ok", (reply) => {
      joined(room, reply);
      saidAway = false;
      tellWhetherAway();
    })
    .receive("error", (error) => addLine(room, `This room can't be joined: ${error.message ?? error.reason}`));
  showRooms();
  showMessages();
  showPeople(presence);
}

function joined(room, reply) {
  if (room.epoch !== null && reply.recovered === false) {
    room.messages = room.messages.filter((message) => message.state === "waiting" || message.state === "failed");
    addLine(room, "Some messages are too old to be shown here.");
  } else if (room.epoch !== null && reply.events?.length) {
    addLine(room, `Reconnected: ${reply.events.length} missed`);
  }
  if (room.epoch !== reply.epoch) room.seq = 0;
  room.epoch = reply.epoch;
  for (const event of reply.events ?? []) received(room, event);
  room.older = (oldest(room) ?? reply.seq + 1) > 1 ? "more" : "none";
  if (!reply.events?.length && room.seq === 0) room.seq = reply.seq;
  setStatus("open", "Connected");
  if (current?.room === room) showMessages();
}

function received(room, event) {
  room.seq = Math.max(room.seq, event.seq);
  const known = room.messages.findIndex((message) => message.id === event.id);
  const message = messageOf(event);
  if (known >= 0) room.messages.splice(known, 1); // our own, now with its place among the others
  room.messages.push(message);
  if (room.messages.length > SHOWN_MAX && atEnd) {
    room.messages.splice(0, room.messages.length - SHOWN_MAX);
    room.older = "more";
  }
  if (current?.room === room) {
    showTyping(event.meta.user_id, false);
    showMessages();
  }
}

const messageOf = (event) => ({
  id: event.id, seq: event.seq, user: event.meta.user_id, text: textOf(event), ts: event.meta.ts,
  state: event.type === "erased" ? "erased" : "sent",
});

const oldest = (room) => room.messages.find((message) => message.seq)?.seq;

// What was written before: a page at a time, as far back as the server keeps it. Asked for by whoever scrolls up.
function loadOlder() {
  const { room, channel } = current;
  if (room.older !== "more" || channel.state !== "joined") return;
  room.older = "loading";
  showMessages();
  const before = oldest(room);
  channel.push("history", before ? { before, limit: HISTORY } : { limit: HISTORY })
    .receive("ok", ({ epoch, events, more }) => {
      room.older = more && events.length ? "more" : "none";
      if (epoch === room.epoch && oldest(room) === before) {
        const known = new Set(room.messages.map((message) => message.id));
        room.messages.unshift(...events.filter((event) => !known.has(event.id)).map(messageOf));
      }
      if (current?.room === room) showMessages();
    })
    .receive("error", () => olderFailed(room))
    .receive("timeout", () => olderFailed(room));
}

function olderFailed(room) {
  room.older = "more"; // the next scroll tries again
  if (current?.room === room) showMessages();
}

// A moderator took something away.
function erased(room, { seq, before }) {
  for (const message of room.messages) {
    if (message.seq && (message.seq === seq || message.seq < before)) {
      Object.assign(message, { state: "erased", text: REMOVED, user: null });
    }
  }
  if (current?.room === room) showMessages();
}

function textOf(event) {
  if (event.type === "erased") return REMOVED;
  const text = event.data?.text;
  return typeof text === "string" ? text : `${event.type}: ${JSON.stringify(event.data)}`;
}

// ---------------------------------------------------------------- sending

function compose(text) {
  const message = {
    id: `chat-${crypto.randomUUID?.() ?? Math.random().toString(36).slice(2)}`,
    user: me, text, ts: new Date().toISOString(), state: "waiting",
  };
  current.room.messages.push(message);
  showMessages();
  send(current, message);
}

// The id makes it safe to send again when no answer came: the server delivers it once.
function send({ room, channel }, message) {
  message.state = "waiting";
  channel.push("publish", { type: "message", data: { text: message.text }, id: message.id })
    .receive("ok", () => settle(room, message, "sent"))
    .receive("error", (error) => settle(room, message, "failed", error.message ?? error.reason))
    .receive("timeout", () => settle(room, message, "failed", "no answer"));
}

function settle(room, message, state, why) {
  if (!room.messages.includes(message)) return; // it came back as an event already
  message.state = state;
  message.why = why;
  if (current?.room === room) showMessages();
}

// Others see who has this page in the background.
let saidAway = false;
function tellWhetherAway() {
  const away = document.visibilityState === "hidden";
  if (current?.channel.state !== "joined" || away === saidAway) return;
  saidAway = away;
  current.channel.push("presence_update", { info: away ? { away } : {} });
}

let typedAt = 0;
function typed() {
  if (Date.now() - typedAt < TYPING_EVERY_MS || current?.channel.state !== "joined") return;
  typedAt = Date.now();
  current.channel.push("signal", { type: "typing", data: null });
}

// ---------------------------------------------------------------- what is shown

function node(tag, properties = {}, ...children) {
  const result = Object.assign(document.createElement(tag), properties);
  result.append(...children);
  return result;
}

function hue(name) {
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) % 360;
  return hash;
}

function avatar(name, machine = false) {
  const result = node("span", { className: machine ? "avatar machine" : "avatar", ariaHidden: "true" }, [...name][0]?.toUpperCase() ?? "?");
  result.style.setProperty("--hue", hue(name));
  return result;
}

function showRooms() {
  for (const name of ["lobby", "random", "support", current.room.name]) roomNamed(name);
  element("rooms").replaceChildren(...[...rooms.values()].map((room) => {
    const button = node("button", { type: "button", onclick: () => goTo(room.name) }, `# ${room.name}`);
    button.setAttribute("aria-current", String(room === current.room));
    return node("li", {}, button);
  }));
}

function showMessages() {
  const list = element("messages");
  const { name, messages, older } = current.room;
  element("title").textContent = `# ${name}`;
  const nodes = older === "none" ? [] : [olderLine];
  olderLine.textContent = older === "loading" ? "Loading what was written before…" : "Scroll up for what was written before";
  let before = null; // the message above, if this one can go with it
  let day = null;
  for (const message of messages) {
    const date = message.line ? day : new Date(message.ts).toDateString();
    if (date !== day) {
      nodes.push(dayNode(message.ts, date));
      before = null;
    }
    day = date;
    const together = before !== null && before.user === message.user && Date.parse(message.ts) - Date.parse(before.ts) < TOGETHER_MS;
    nodes.push(drawnOnce(message, `${message.state} ${together}`, () => messageNode(message, together)));
    before = message.line || message.state === "erased" ? null : message;
  }
  // Only what is new or gone is touched: screen readers tell what is added here. What somebody reads stays where it is.
  const inSight = (child) => child.offsetTop + child.offsetHeight > list.scrollTop && child.offsetTop < list.scrollTop + list.clientHeight;
  const read = [...list.querySelectorAll(".message")].filter(inSight).map((child) => ({ child, place: child.offsetTop }));
  const wanted = new Set(nodes);
  for (const child of [...list.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((child, index) => {
    if (list.children[index] !== child) list.insertBefore(child, list.children[index] ?? null);
  });
  const still = read.find(({ child }) => child.isConnected); // the first may be drawn anew, below a name that came in above
  if (!atEnd && still) list.scrollTop += still.child.offsetTop - still.place;
  stayAtEnd();
  if (list.scrollHeight <= list.clientHeight) loadOlder(); // there is room for more, and nothing to scroll
}

const olderLine = node("li", { className: "line older" });

// Who has scrolled up to read stays there; else the newest message stays in sight, also when a keyboard opens.
let atEnd = true;
function stayAtEnd() {
  const list = element("messages");
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function drawnOnce(message, look, draw) {
  const known = drawn.get(message);
  if (known?.look === look) return known.node;
  const fresh = draw();
  drawn.set(message, { look, node: fresh });
  return fresh;
}

function dayNode(ts, day) {
  if (!days.has(day)) days.set(day, node("li", { className: "line" }));
  const yesterday = new Date();
  yesterday.setDate(yesterday.getDate() - 1);
  days.get(day).textContent = day === new Date().toDateString() ? "Today"
    : day === yesterday.toDateString() ? "Yesterday"
      : new Date(ts).toLocaleDateString([], { weekday: "long", day: "numeric", month: "long" });
  return days.get(day);
}

function messageNode(message, together) {
  if (message.line) return node("li", { className: "line" }, message.line);
  if (message.state === "erased") return node("li", { className: "line" }, REMOVED);
  const time = new Date(message.ts);
  const mine = message.user === me;
  const head = node("div", { className: together ? "head visually-hidden" : "head" },
    node("span", { className: "who" }, mine ? "You" : message.user ?? "API"),
    node("time", { dateTime: message.ts, title: time.toLocaleString() },
      time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" })));
  const text = node("div", { className: "text" }, message.text);
  const result = node("li", { className: `message ${message.state}${mine ? " mine" : ""}${together ? " together" : ""}` });
  if (!mine) result.append(together ? node("span") : avatar(message.user ?? "⚙", message.user === null));
  result.append(node("div", { className: "body" }, head, text));
  if (message.state === "failed") {
    result.lastChild.append(node("button", {
      type: "button", className: "again", onclick: () => { send(current, message); showMessages(); },
    }, `Not sent (${message.why}). Try again`));
  }
  return result;
}

function addLine(room, text) {
  room.messages.push({ line: text, id: null });
  if (current?.room === room) showMessages();
}

function showPeople(presence) {
  const people = presence.list((user, { metas }) => ({ user, metas }));
  const counted = people.find(({ user }) => user === ""); // above the roster's bound the room only counts
  element("people-count").textContent = String(counted ? counted.metas[0].count : people.length);
  element("people").replaceChildren(...people
    .filter(({ user }) => user !== "")
    .sort((a, b) => a.user.localeCompare(b.user))
    .map(({ user, metas }) => {
      const away = metas.every(({ info }) => info?.away);
      const item = node("li", { className: away ? "away" : "" },
        avatar(user), node("span", { className: "who" }, user === me ? `${user} (you)` : user));
      if (away) item.append(node("span", { className: "note" }, "away"));
      if (metas.length > 1) item.append(node("span", { className: "note", title: `on ${metas.length} devices` }, `×${metas.length}`));
      return item;
    }));
}

function showTyping(user, on = true) {
  if (!user || user === me) return;
  clearTimeout(typing.get(user));
  typing.delete(user);
  if (on) typing.set(user, setTimeout(() => showTyping(user, false), TYPING_SHOWN_MS));
  const names = [...typing.keys()];
  element("typing").textContent = names.length === 0 ? ""
    : names.length > 3 ? "Several people are typing…"
      : `${names.join(", ")} ${names.length === 1 ? "is" : "are"} typing…`;
}

function clearTyping() {
  for (const timer of typing.values()) clearTimeout(timer);
  typing.clear();
  element("typing").textContent = "";
}

// ---------------------------------------------------------------- what people do

element("compose").onsubmit = (event) => {
  event.preventDefault();
  const text = element("text").value.trim();
  if (!text) return;
  element("text").value = "";
  typedAt = 0;
  atEnd = true;
  compose(text);
};
element("text").oninput = typed;
element("room-form").onsubmit = (event) => {
  event.preventDefault();
  const name = element("room").value.trim().replace(/[\s*\u0000-\u001f]+/g, "-");
  element("room").value = "";
  if (name) goTo(name);
};
element("me-form").onsubmit = (event) => {
  event.preventDefault();
  const name = element("me").value.trim().replace(/[\u0000-\u001f]+/g, "");
  if (name && name !== me) {
    me = name;
    connect();
  }
  element("text").focus();
};
element("messages").onscroll = ({ target }) => {
  atEnd = target.scrollHeight - target.scrollTop - target.clientHeight < 80;
  if (target.scrollTop < OLDER_FROM_PX) loadOlder();
};
new ResizeObserver(stayAtEnd).observe(element("messages"));
window.onpopstate = () => openRoom(roomInAddress());
document.onvisibilitychange = () => tellWhetherAway();

connect();

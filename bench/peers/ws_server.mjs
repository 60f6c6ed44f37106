// npm's `ws` doing what the floor does: `node ws_server.mjs FRAME_BYTES`; it prints the port that it listens on.
//
// `GET /…?room=N` joins room N; a message's stamp goes to all members in a text of FRAME_BYTES. `GET /echo…` sends
// every message back.
import { WebSocketServer } from "ws";

const STAMP_BYTES = 29;
const rest = Buffer.alloc(Number(process.argv[2] ?? 260) - STAMP_BYTES, "x");
const rooms = new Map();

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false, backlog: 4096 });
server.on("listening", () => console.log(`listening ${server.address().port}`));
server.on("connection", (socket, request) => {
  socket.on("error", () => socket.terminate());
  if (request.url.startsWith("/echo")) {
    socket.on("message", (message) => socket.send(message, { binary: false }));
    return;
  }
  const room = new URL(request.url, "http://localhost").searchParams.get("room");
  const members = rooms.get(room) ?? new Set();
  rooms.set(room, members.add(socket));
  socket.on("close", () => members.delete(socket));
  socket.on("message", (message) => {
    const text = Buffer.concat([message.subarray(0, STAMP_BYTES), rest]);
    for (const member of members) member.send(text, { binary: false });
  });
});

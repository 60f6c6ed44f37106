// The scenarios of a file, by name. test_phoenix_js.py reads the names from the files: one literal at the start.

export const scenarios = new Map();

export function scenario(name, run) {
  scenarios.set(name, run);
}

// For what the 1.5 client does not have.
export const newestOnly = scenario;

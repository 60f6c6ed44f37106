// As much of a browser's XMLHttpRequest as the 1.5 client's long-poll asks for; node has none. The requests are real.

export class XMLHttpRequest {
  readyState = 0;
  responseText = "";
  timeout = 0;
  #headers = {};
  #abort = new AbortController();

  open(method, url) {
    this.method = method;
    this.url = url;
  }

  setRequestHeader(name, value) {
    this.#headers[name] = value;
  }

  send(body) {
    const late = this.timeout && setTimeout(() => {
      this.#abort.abort();
      this.ontimeout?.();
    }, this.timeout);
    fetch(this.url, { method: this.method, headers: this.#headers, body, signal: this.#abort.signal })
      .then(async (response) => { this.responseText = await response.text(); })
      .then(() => this.#done(), () => { if (!this.#abort.signal.aborted) this.#done(true); })
      .finally(() => clearTimeout(late));
  }

  abort() {
    this.#abort.abort();
  }

  // Browsers tell both, in this order, where the network failed.
  #done(failed = false) {
    this.readyState = 4;
    this.onreadystatechange?.();
    if (failed) this.onerror?.();
  }
}

// What do the tests here share? The official SDK as its users make it, a receiver, and a way to wait.

import { createServer } from "node:http";
import { webcrypto } from "node:crypto";
import { Svix } from "svix";

export * from "svix";

// The SDK is made for Node 22 and calls this global, which the Node 18 of Debian 12 has only as a module.
globalThis.crypto ??= webcrypto;

const URL_OF_SERVER = process.env.RINGBACK_TEST_URL;
export const TOKEN = process.env.RINGBACK_TEST_TOKEN;
// Names are this run's own: the server is shared.
const RUN = process.env.RINGBACK_TEST_RUN;
let number = 0;

/** A name that nobody else on the server has. */
export const name = (word) => `${word}-${RUN}-${++number}`;

/** The SDK for the server; it asks once, so that an error is one. */
export const client = (token = TOKEN) => new Svix(token, { serverUrl: URL_OF_SERVER, retryScheduleInMs: [] });

export const serverUrl = URL_OF_SERVER;

/** The first truthy value of a condition, asked again and again. Throws after 20 seconds. */
export async function until(condition, what) {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`not within 20 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Serves on a port of its own, keeps what arrives, and answers with `status`. */
export class Receiver {
  arrivals = [];
  status = 200;

  async open() {
    this.server = createServer((request, response) => {
      const chunks = [];
      request.on("data", (chunk) => chunks.push(chunk));
      request.on("end", () => {
        this.arrivals.push({ path: request.url, headers: request.headers, body: Buffer.concat(chunks) });
        response.writeHead(this.status, { "content-type": "text/plain" }).end("heard");
      });
    });
    await new Promise((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${this.server.address().port}`;
  }

  at(path) {
    return this.arrivals.filter((arrival) => arrival.path === path);
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** An application with one endpoint that is a path of the receiver. */
export class Shop {
  static async opened(svix, receiver) {
    const shop = new Shop();
    shop.svix = svix;
    shop.receiver = receiver;
    shop.path = `/${name("hook")}`;
    shop.app = (await svix.application.create({ name: "Shop", uid: name("shop") })).id;
    shop.endpoint = (await svix.endpoint.create(shop.app, { url: receiver.url + shop.path, uid: "mine" })).id;
    return shop;
  }

  async send(payload = { a: 1 }, more = {}) {
    return (await this.svix.message.create(this.app, { eventType: "order.paid", payload, ...more })).id;
  }

  async arrived(count) {
    await until(() => this.receiver.at(this.path).length >= count, `${count} requests arrive`);
    return this.receiver.at(this.path);
  }

  async attempts(count) {
    return until(async () => {
      const { data } = await this.svix.messageAttempt.listByEndpoint(this.app, this.endpoint, { withContent: true });
      return data.length >= count && data;
    }, `${count} attempts are listed`);
  }

  async finished(task) {
    return until(async () => {
      const found = await this.svix.backgroundTask.get(task.id);
      return found.status !== "running" && found;
    }, "the task ends");
  }
}

/** Every item of a list, walked in pages of two by its iterator, as the SDK's users do. */
export async function walked(list, options = {}) {
  const found = [];
  let iterator = null;
  for (;;) {
    const page = await list({ ...options, limit: 2, iterator });
    found.push(...page.data);
    if (page.done) return found;
    iterator = page.iterator;
  }
}

// Does the official JavaScript SDK work with nothing changed but the server URL?

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, test } from "node:test";
import {
  ApiException,
  AppPortalCapability,
  AutoConfig,
  MessageAttemptTriggerType,
  MessageStatus,
  Ordering,
  Receiver,
  Shop,
  Webhook,
  WebhookVerificationError,
  client,
  messageInRaw,
  name,
  serverUrl,
  until,
  walked,
} from "./sdk.mjs";

const svix = client();
const receiver = new Receiver();
const CODE = "function handler(webhook) { return webhook; }";
const HOUR_MS = 3_600_000;

before(() => receiver.open());
after(() => receiver.close());

/** How a call was refused. */
async function refused(promise) {
  const error = await promise.then(
    () => assert.fail("it was not refused"),
    (thrown) => thrown,
  );
  assert.ok(error instanceof ApiException, String(error));
  return error;
}

const code = async (promise) => {
  const { code: status, body } = await refused(promise);
  return [status, body.code];
};

test("applications are made, read, changed, replaced and deleted", async () => {
  const uid = name("app");
  const made = await svix.application.create({ name: "Shop", uid, metadata: { a: "b" }, throttleRate: 9 });
  assert.ok(made.createdAt instanceof Date);
  assert.deepEqual(await svix.application.get(uid), made);
  assert.deepEqual(await svix.application.getOrCreate({ name: "Another", uid }), made);
  assert.equal((await svix.application.patch(made.id, { throttleRate: null })).throttleRate, null);
  const replaced = await svix.application.upsert(uid, { name: "New" });
  assert.deepEqual([replaced.id, replaced.uid, replaced.name, replaced.metadata], [made.id, uid, "New", {}]);
  assert.equal((await svix.application.upsert(name("app"), { name: "Fresh" })).name, "Fresh");
  await svix.application.delete(uid);
  assert.deepEqual(await code(svix.application.get(made.id)), [404, "not_found"]);
});

test("endpoints are made, read, changed, replaced and deleted", async () => {
  const { app } = await Shop.opened(svix, receiver);
  const type = name("type");
  await svix.eventType.create({ name: type, description: "" });
  const made = await svix.endpoint.create(app, {
    url: "https://a.example/hook",
    uid: "other",
    description: "an endpoint",
    eventTypes: [type],
    channels: ["one"],
    metadata: { a: "b" },
    headers: { "x-a": "1" },
  });
  assert.deepEqual([made.eventTypes, made.channels, made.disabled], [[type], ["one"], false]);
  assert.deepEqual(await svix.endpoint.get(app, "other"), made);
  assert.equal((await svix.endpoint.patch(app, made.id, { disabled: true, channels: null })).channels, null);
  const replaced = await svix.endpoint.upsert(app, "other", { url: "https://b.example/" });
  assert.deepEqual([replaced.id, replaced.url, replaced.eventTypes], [made.id, "https://b.example/", null]);
  assert.deepEqual((await svix.endpoint.getHeaders(app, "other")).headers, { "x-a": "1" });
  await svix.endpoint.setHeaders(app, "other", { headers: { "X-B": "2", Authorization: "secret" } });
  await svix.endpoint.patchHeaders(app, "other", { headers: { "x-c": "3" }, deleteHeaders: ["x-b"] });
  assert.deepEqual(await svix.endpoint.getHeaders(app, "other"), { headers: { "x-c": "3" }, sensitive: ["Authorization"] });
  await svix.endpoint.delete(app, "other");
  assert.deepEqual(await code(svix.endpoint.get(app, made.id)), [404, "not_found"]);
});

test("event types are made, read, changed, archived and removed", async () => {
  const type = name("type");
  const made = await svix.eventType.create({ name: type, description: "first", schemas: { 1: { type: "object" } } });
  assert.deepEqual(await svix.eventType.get(type), made);
  assert.equal((await svix.eventType.patch(type, { description: "second" })).description, "second");
  assert.equal((await svix.eventType.upsert(type, { description: "third", groupName: "orders" })).groupName, "orders");
  await svix.eventType.delete(type);
  assert.equal((await svix.eventType.get(type)).archived, true);
  await svix.eventType.delete(type, { expunge: true });
  assert.deepEqual(await code(svix.eventType.get(type)), [404, "not_found"]);
  const spec = { openapi: "3.1.0", info: {}, webhooks: { [type]: { post: { description: "imported" } } } };
  assert.deepEqual((await svix.eventType.importOpenapi({ spec })).data.modified, [type]);
  assert.equal((await svix.eventType.get(type)).description, "imported");
});

test("a message arrives, signed so that the SDK verifies it, and nothing else is verified", async () => {
  const shop = await Shop.opened(svix, receiver);
  const payload = { type: "order.paid", amount: 12.5, text: "žluťoučký 馬 😀", nested: { z: 1, a: null } };
  const id = await shop.send(payload, { eventId: name("event"), channels: ["one"], tags: ["blue"] });
  const [arrival] = await shop.arrived(1);
  assert.deepEqual(JSON.parse(arrival.body), payload);
  assert.equal(arrival.headers["webhook-id"], id);
  const { key } = await svix.endpoint.getSecret(shop.app, shop.endpoint);
  const webhook = new Webhook(key);
  webhook.verify(arrival.body.toString(), arrival.headers);
  webhook.verify(arrival.body, arrival.headers);
  assert.throws(() => webhook.verify(`${arrival.body} `, arrival.headers), WebhookVerificationError);
  assert.throws(() => new Webhook(`whsec_${Buffer.alloc(24).toString("base64")}`).verify(arrival.body, arrival.headers), WebhookVerificationError);
  const at = new Date(Number(arrival.headers["webhook-timestamp"]) * 1000);
  assert.equal(arrival.headers["webhook-signature"], webhook.sign(id, at, arrival.body));
  const shown = await svix.message.get(shop.app, id, { withContent: true });
  assert.deepEqual([shown.payload, shown.tags, shown.channels], [payload, ["blue"], ["one"]]);
  assert.deepEqual(await svix.message.get(shop.app, shown.eventId, { withContent: true }), shown);
});

test("a raw message arrives as it was written, with its content type", async () => {
  const shop = await Shop.opened(svix, receiver);
  const { id } = await svix.message.create(shop.app, messageInRaw("order.paid", "<a>1</a>", "text/xml"));
  const [arrival] = await shop.arrived(1);
  assert.deepEqual([arrival.body.toString(), arrival.headers["content-type"]], ["<a>1</a>", "text/xml"]);
  new Webhook((await svix.endpoint.getSecret(shop.app, shop.endpoint)).key).verify(arrival.body, arrival.headers);
  assert.deepEqual((await svix.message.get(shop.app, id, { withContent: true })).payload, { rawPayload: "<a>1</a>" });
});

test("a message of the same key is made once, whoever repeats it", async () => {
  const shop = await Shop.opened(svix, receiver);
  const message = { eventType: "order.paid", payload: {} };
  const idempotencyKey = name("key");
  const made = await Promise.all([1, 2, 3].map(() => svix.message.create(shop.app, message, { idempotencyKey })));
  assert.equal(new Set(made.map(({ id }) => id)).size, 1);
  assert.equal((await svix.message.list(shop.app)).data.length, 1);
});

test("attempts are listed in every way, and forgotten", async () => {
  const shop = await Shop.opened(svix, receiver);
  const id = await shop.send();
  const [attempt] = await shop.attempts(1);
  assert.deepEqual(
    [attempt.msgId, attempt.endpointId, attempt.status, attempt.responseStatusCode, attempt.response, attempt.triggerType],
    [id, shop.endpoint, MessageStatus.Success, 200, "heard", MessageAttemptTriggerType.Scheduled],
  );
  assert.ok(attempt.timestamp instanceof Date);
  const own = await svix.messageAttempt.listByMsg(shop.app, id, { status: MessageStatus.Success, endpointId: "mine", withContent: true });
  assert.deepEqual(own.data, [attempt]);
  assert.deepEqual((await svix.messageAttempt.listByMsg(shop.app, id, { status: MessageStatus.Fail })).data, []);
  const withMsg = await svix.messageAttempt.listByEndpoint(shop.app, "mine", { withMsg: true, statusCodeClass: 200 });
  assert.equal(withMsg.data[0].msg.eventType, "order.paid");
  assert.equal((await svix.messageAttempt.get(shop.app, id, attempt.id)).id, attempt.id);
  const [row] = (await svix.messageAttempt.listAttemptedMessages(shop.app, shop.endpoint)).data;
  assert.deepEqual([row.id, row.status, row.nextAttempt], [id, MessageStatus.Success, null]);
  const [destination] = (await svix.messageAttempt.listAttemptedDestinations(shop.app, id)).data;
  assert.deepEqual([destination.id, destination.status], [shop.endpoint, MessageStatus.Success]);
  const stats = await svix.endpoint.getStats(shop.app, shop.endpoint);
  assert.deepEqual({ ...stats }, { success: 1, pending: 0, sending: 0, fail: 0, canceled: 0 });
  await svix.messageAttempt.expungeContent(shop.app, id, attempt.id);
  assert.equal((await svix.messageAttempt.get(shop.app, id, attempt.id)).response, "EXPUNGED");
  await svix.message.expungeContent(shop.app, id);
  assert.deepEqual((await svix.message.get(shop.app, id, { withContent: true })).payload, { expired: true });
  assert.deepEqual(await code(svix.messageAttempt.resend(shop.app, id, shop.endpoint)), [400, "missing_payload"]);
});

test("a message is sent again by hand", async () => {
  const shop = await Shop.opened(svix, receiver);
  const id = await shop.send();
  await shop.attempts(1);
  await svix.messageAttempt.resend(shop.app, id, "mine");
  const [first, second] = await shop.arrived(2);
  assert.deepEqual(first.body, second.body);
  assert.equal(second.headers["webhook-id"], id);
  const [newest, oldest] = await shop.attempts(2);
  assert.deepEqual([newest.triggerType, oldest.triggerType], [MessageAttemptTriggerType.Manual, MessageAttemptTriggerType.Scheduled]);
});

test("while a secret is rotated both keys verify, and afterwards the new one", async () => {
  const shop = await Shop.opened(svix, receiver);
  const { key: old } = await svix.endpoint.getSecret(shop.app, shop.endpoint);
  const chosen = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;
  await svix.endpoint.rotateSecret(shop.app, shop.endpoint, { key: chosen });
  assert.equal((await svix.endpoint.getSecret(shop.app, shop.endpoint)).key, chosen);
  await shop.send();
  const [both] = await shop.arrived(1);
  new Webhook(old).verify(both.body, both.headers);
  new Webhook(chosen).verify(both.body, both.headers);
  await svix.endpoint.rotateSecret(shop.app, shop.endpoint, { gracePeriodSeconds: 0 });
  const { key: last } = await svix.endpoint.getSecret(shop.app, shop.endpoint);
  await shop.send();
  const [, one] = await shop.arrived(2);
  new Webhook(last).verify(one.body, one.headers);
  assert.throws(() => new Webhook(chosen).verify(one.body, one.headers), WebhookVerificationError);
});

test("a portal token sees its application, within what it may do, until it ends", async () => {
  const { app } = await Shop.opened(svix, receiver);
  const other = await Shop.opened(svix, receiver);
  const capabilities = [AppPortalCapability.ViewBase];
  const { url, token } = await svix.authentication.appPortalAccess(app, { capabilities, expiry: 3600, sessionId: "one" });
  assert.ok(url.endsWith(`/portal/#key=${token}`));
  const portal = client(token);
  assert.equal((await portal.endpoint.list(app)).data.length, 1);
  assert.deepEqual(await code(portal.endpoint.getSecret(app, "mine")), [403, "insufficient access"]);
  assert.deepEqual(await code(portal.endpoint.list(other.app)), [404, "not_found"]);
  assert.deepEqual(await code(portal.application.list()), [403, "insufficient access"]);
  await portal.authentication.logout();
  assert.deepEqual(await code(portal.endpoint.list(app)), [401, "authentication_failed"]);
  const second = client((await svix.authentication.appPortalAccess(app)).token);
  assert.ok((await second.endpoint.getSecret(app, "mine")).key);
  await svix.authentication.expireAll(app, {});
  assert.deepEqual(await code(second.endpoint.list(app)), [401, "authentication_failed"]);
});

test("tasks recover, replay, and forget, and are listed", async () => {
  const shop = await Shop.opened(svix, receiver);
  const since = new Date(Date.now() - HOUR_MS);
  await shop.send();
  await shop.attempts(1);
  await svix.endpoint.create(shop.app, { url: `${receiver.url + shop.path}-late`, uid: "late" });
  const missing = await shop.finished(await svix.endpoint.replayMissing(shop.app, "late", { since }));
  assert.deepEqual([missing.task, missing.status, missing.data], ["endpoint.replay", "finished", { messagesSent: 1 }]);
  const again = await shop.finished(await svix.endpoint.bulkReplay(shop.app, "mine", { since, eventTypes: ["order.paid"] }));
  assert.deepEqual(again.data, { messagesSent: 1 });
  const recovered = await shop.finished(await svix.endpoint.recover(shop.app, "mine", { since }));
  assert.deepEqual([recovered.task, recovered.data], ["endpoint.recover", { messagesSent: 0 }]);
  const purged = await shop.finished(await svix.message.expungeAllContents(shop.app));
  assert.deepEqual([purged.task, purged.data], ["application.purge_content", { messagesPurged: 1 }]);
  const listed = (await svix.backgroundTask.list({ order: Ordering.Descending, limit: 250 })).data.map(({ id }) => id);
  assert.ok([missing, again, recovered, purged].every(({ id }) => listed.includes(id)));
  assert.deepEqual(await code(svix.backgroundTask.get("qtask_nobody")), [404, "not_found"]);
});

test("messages are checked before, sent as an example, and forgotten in bulk", async () => {
  const shop = await Shop.opened(svix, receiver);
  assert.equal((await svix.message.precheck(shop.app, { eventType: "order.paid" })).active, true);
  const example = await svix.endpoint.sendExample(shop.app, "mine", { eventType: "svix.ping" });
  assert.deepEqual(example.payload, { success: true });
  const id = await shop.send();
  assert.deepEqual((await svix.message.bulkExpungeContent(shop.app, { ids: [id, "nobody"] })).results, { [id]: "expunged", nobody: "not-found" });
  const counted = await svix.statistics.aggregateAppStats({ since: new Date(Date.now() - HOUR_MS), until: new Date(), appIds: [shop.app] });
  assert.deepEqual(counted.unresolvedAppIds, []);
  assert.equal((await shop.finished(await svix.statistics.aggregateEventTypes())).status, "finished");
});

test("lists are walked by their iterator, both ways, none left out and none twice", async () => {
  const shop = await Shop.opened(svix, receiver);
  const sent = [];
  for (let count = 0; count < 5; count++) sent.push(await shop.send({ count }, { tags: [count % 2 ? "odd" : "even"] }));
  for (let count = 0; count < 4; count++) await svix.endpoint.create(shop.app, { url: "https://a.example/", disabled: true });
  const messages = await walked((options) => svix.message.list(shop.app, options));
  assert.deepEqual(messages.map(({ id }) => id), [...sent].reverse());
  const even = await walked((options) => svix.message.list(shop.app, options), { withContent: true, tag: "even", eventTypes: ["order.paid", "other"] });
  assert.deepEqual(even.map(({ payload }) => payload.count), [4, 2, 0]);
  const ascending = await walked((options) => svix.endpoint.list(shop.app, options), { order: Ordering.Ascending });
  const descending = await walked((options) => svix.endpoint.list(shop.app, options));
  assert.equal(ascending.length, 5);
  assert.deepEqual([...ascending].reverse(), descending);
  const last = await svix.message.list(shop.app, { limit: 2, iterator: messages[3].id });
  assert.deepEqual([last.data.map(({ id }) => id), last.done], [[sent[0]], true]);
  const back = await svix.message.list(shop.app, { limit: 2, iterator: last.prevIterator });
  assert.deepEqual(back.data.map(({ id }) => id), [sent[2], sent[1]]);
  const earlier = await svix.message.list(shop.app, { before: messages[4].timestamp });
  assert.deepEqual([earlier.data, earlier.iterator, earlier.done], [[], null, true]);
});

test("a source verifies what it receives and hands it on", async () => {
  const secret = "a secret of the provider";
  const source = await svix.ingest.source.create({ name: "github", uid: name("source"), type: "github", config: { secret } });
  const path = `/${name("ingest")}`;
  const endpoint = await svix.ingest.endpoint.create(source.id, { url: receiver.url + path, uid: "mine" });
  const body = JSON.stringify({ zen: "Keep it logically awesome." });
  const signature = `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`;
  const post = (signed) => fetch(source.ingestUrl, { method: "POST", body, headers: { "x-hub-signature-256": signed, "content-type": "application/json" } });
  assert.equal((await post("sha256=00")).status, 401);
  const accepted = await post(signature);
  assert.deepEqual([accepted.status, await accepted.json()], [200, {}]);
  await until(() => receiver.at(path).length, "the event arrives");
  const [arrival] = receiver.at(path);
  assert.equal(arrival.body.toString(), body);
  new Webhook((await svix.ingest.endpoint.getSecret(source.id, "mine")).key).verify(arrival.body, arrival.headers);
  await svix.ingest.endpoint.rotateSecret(source.id, "mine", {});
  await svix.ingest.endpoint.setHeaders(source.id, "mine", { headers: { "x-a": "1" } });
  assert.deepEqual((await svix.ingest.endpoint.getHeaders(source.id, "mine")).headers, { "x-a": "1" });
  const upserted = await svix.ingest.endpoint.upsert(source.id, "mine", { url: endpoint.url, description: "changed" });
  assert.deepEqual([upserted.id, upserted.description], [endpoint.id, "changed"]);
  assert.equal((await svix.ingest.endpoint.list(source.id)).data.length, 1);
  const { ingestUrl } = await svix.ingest.source.rotateToken(source.id);
  assert.notEqual(ingestUrl, source.ingestUrl);
  assert.ok((await svix.ingest.authentication.consumerPortalAccess(source.id)).token);
  assert.equal((await svix.ingest.source.upsert(source.uid, { name: "new", type: "github", config: { secret } })).name, "new");
  await svix.ingest.endpoint.delete(source.id, "mine");
  await svix.ingest.source.delete(source.uid);
  assert.deepEqual(await code(svix.ingest.source.get(source.id)), [404, "not_found"]);
});

test("an owner is told of changes, signed", async () => {
  const path = `/${name("news")}`;
  const news = await svix.operationalWebhook.endpoint.create({ url: receiver.url + path, eventTypes: ["endpoint.created"] });
  const { key } = await svix.operationalWebhook.endpoint.getSecret(news.id);
  const shop = await Shop.opened(svix, receiver);
  const told = await until(
    () => receiver.at(path).find(({ body }) => JSON.parse(body).data.endpointId === shop.endpoint),
    "the endpoint is told of",
  );
  new Webhook(key).verify(told.body, told.headers);
  assert.equal(JSON.parse(told.body).type, "endpoint.created");
  assert.ok((await svix.operationalWebhook.endpoint.list()).data.some(({ id }) => id === news.id));
  await svix.operationalWebhook.endpoint.delete(news.id);
});

test("the catalogue: integrations, connectors, environments, subscriptions", async () => {
  const shop = await Shop.opened(svix, receiver);
  const integration = await svix.integration.create(shop.app, { name: "Zap" });
  const { key } = await svix.integration.rotateKey(shop.app, integration.id);
  assert.equal((await client(key).endpoint.list(shop.app)).data.length, 1);
  await svix.integration.delete(shop.app, integration.id);
  assert.deepEqual(await code(client(key).endpoint.list(shop.app)), [401, "authentication_failed"]);

  const connector = await svix.connector.create({ name: name("connector"), transformation: CODE });
  assert.equal((await svix.connector.get(connector.id)).transformation, CODE);
  const exported = await svix.environment.export();
  assert.ok(exported.connectors.some(({ name: found }) => found === connector.name));
  await svix.environment.import(exported);
  await svix.connector.delete(connector.id);

  await svix.endpoint.transformation.patch(shop.app, "mine", { code: CODE, enabled: false });
  assert.equal((await svix.endpoint.transformation.get(shop.app, "mine")).code, CODE);

  const subscription = await svix.autoconfigSubscription.create(shop.app);
  const path = `/${name("auto")}`;
  const own = await new AutoConfig(subscription.token, { url: receiver.url + path }).subscribe();
  assert.equal((await svix.endpoint.get(shop.app, own.id)).url, receiver.url + path);
});

test("an error says what is wrong", async () => {
  const uid = name("taken");
  await svix.application.create({ name: "A", uid });
  const conflict = await refused(svix.application.create({ name: "B", uid }));
  assert.deepEqual([conflict.code, conflict.body.code], [409, "conflict"]);
  const invalid = await refused(svix.application.create({ name: "", uid: "not a uid" }));
  assert.equal(invalid.code, 422);
  assert.deepEqual(invalid.body.detail.map(({ loc }) => loc), [["body", "name"], ["body", "uid"]]);
  const missing = await refused(svix.endpoint.create("nobody", { url: "https://a.example/" }));
  assert.deepEqual([missing.code, missing.body], [404, { code: "not_found", detail: "Entity not found" }]);
  const stranger = await refused(client("nobody").application.list());
  assert.deepEqual([stranger.code, stranger.body], [401, { code: "authentication_failed", detail: "Invalid token" }]);
  assert.equal(await svix.health.get(), undefined);
});

test("a stream is fed, and its events are read in order and once", async () => {
  const stream = await svix.streaming.stream.create({ name: "Parcels", uid: name("parcels") });
  const sink = await svix.streaming.sink.create(stream.id, { type: "poller", config: {} });
  const events = ["one", "two", "three"].map((payload) => ({ eventType: "parcel.weighed", payload }));
  await svix.streaming.events.create(stream.uid, { events });
  const read = [];
  for (let iterator = null, done = false; !done; ) {
    const answer = await svix.streaming.events.get(stream.id, sink.id, { limit: 2, iterator });
    read.push(...answer.data.map(({ eventType, payload }) => ({ eventType, payload })));
    ({ iterator, done } = answer);
  }
  assert.deepEqual(read, events);
  const called = await svix.streaming.sink.create(stream.id, { type: "http", config: { url: "https://a.example/" } });
  const { transformation } = svix.streaming.sink;
  const handler = "function handler(input) { return {data: input.events}; }";
  assert.deepEqual(await transformation.get(stream.id, called.id), { code: null, enabled: false });
  await transformation.patch(stream.id, called.id, { code: handler });
  assert.deepEqual(await transformation.get(stream.id, called.id), { code: handler, enabled: true });
  await transformation.patch(stream.id, called.id, { code: null });
  assert.deepEqual(await transformation.get(stream.id, called.id), { code: null, enabled: false });
  await svix.streaming.stream.delete(stream.id);
  assert.deepEqual(await code(svix.streaming.stream.get(stream.id)), [404, "not_found"]);
});

test("a browser's request is answered with what it needs", async () => {
  const preflight = await fetch(`${serverUrl}/api/v1/app`, {
    method: "OPTIONS",
    headers: { origin: "https://shop.example", "access-control-request-method": "POST", "access-control-request-headers": "authorization,svix-req-id" },
  });
  const allowed = ["origin", "headers"].map((what) => preflight.headers.get(`access-control-allow-${what}`));
  assert.deepEqual([preflight.ok, ...allowed], [true, "*", "authorization,svix-req-id"]);
});

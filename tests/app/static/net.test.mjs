import assert from "node:assert/strict";
import test from "node:test";
import { getJson, send } from "../../../app/static/net.js";

test("a server that is not there is told in a sentence", async () => {
  globalThis.fetch = () => Promise.reject(new TypeError("Failed to fetch"));
  await assert.rejects(getJson("status.json"), { message: /^The server does not answer; / });
  await assert.rejects(send("POST", "models/cancel"), { message: /^The server does not answer; / });
});

test("a refusal is the server's sentence", async () => {
  globalThis.fetch = () => Promise.resolve(new Response("Not today.", { status: 400 }));
  await assert.rejects(getJson("status.json"), { message: "Not today." });
});

// The page's own idea of where it is.

import assert from "node:assert/strict";
import { test } from "node:test";
import { misplaced } from "../../../app/static/root_path.js";

test("a page that is where its program believes says nothing", () => {
  assert.equal(misplaced("http://127.0.0.1:7860/", "http://127.0.0.1:7860/"), "");
  assert.equal(misplaced("http://example.org/demo/", "https://example.org/demo/"), "");
  assert.equal(misplaced("/demo/", "https://example.org/demo/"), "");
});

test("a path that the program does not know is told as the option that mends it", () => {
  const told = misplaced("http://example.org/", "https://example.org/tools/demo/");
  assert.match(told, /start it with --root-path \/tools\/demo\.$/);
  assert.match(misplaced("https://example.org/demo/", "https://example.org/"), /believes \/demo\/; .* \/\.$/);
});

test("a host that the proxy kept to itself is told as well", () => {
  const told = misplaced("http://127.0.0.1:7860/demo/", "https://example.org/demo/");
  assert.match(told, /start it with --root-path https:\/\/example\.org\/demo, or have/);
});

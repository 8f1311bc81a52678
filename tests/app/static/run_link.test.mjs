import assert from "node:assert/strict";
import test from "node:test";

globalThis.addEventListener ??= () => {};
const { linkTo, parseLink } = await import("../../../app/static/run_link.js");

test("a link names a run and a step, and is read back", () => {
  const link = { run: "a-b_C1", step: 12 };
  assert.equal(linkTo(link), "#run=a-b_C1&step=12");
  assert.deepEqual(parseLink(linkTo(link)), link);
});

test("a step that is none is the first one, and a tab is no link", () => {
  for (const step of ["", "&step=", "&step=0", "&step=-3", "&step=1.5", "&step=x"])
    assert.deepEqual(parseLink(`#run=abc${step}`), { run: "abc", step: 1 });
  for (const hash of ["", "#", "#compare", "#run=", "#step=3"]) assert.equal(parseLink(hash), null);
});

test("nothing of an address gets out of its place", () => {
  assert.equal(linkTo({ run: "a&step=9#<b>", step: 1 }), "#run=a%26step%3D9%23%3Cb%3E&step=1");
});

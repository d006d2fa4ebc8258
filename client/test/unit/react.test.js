// useTicketSocket, against the few words of React that it uses. The slow tests have the
// real one, in browsers.
import assert from "node:assert/strict";
import { register } from "node:module";
import { test } from "node:test";
import { install, minter, settled } from "./world.js";

// A React of one component: state, refs, and effects that run after each render in
// order, with those whose dependencies have changed ended first. StrictMode begins them,
// ends them, and begins them again.
const React = globalThis.wsticketTestReact = {
  useState(initial) {
    const cell = React.cell(() => ({ value: initial }));
    return [cell.value, (value) => { cell.value = value; }];
  },
  useRef: () => React.cell(() => ({ current: undefined })),
  useEffect(run, deps) {
    const cell = React.cell(() => ({}));
    cell.due = !deps || !cell.deps || deps.some((dep, i) => !Object.is(dep, cell.deps[i]));
    Object.assign(cell, { run, deps });
  },
  cell(make) { return React.cells[React.at++] ??= make(); },
};
register("data:text/javascript," + encodeURIComponent(`
  export const resolve = (name, context, next) => name === "react"
    ? { shortCircuit: true, url: "data:text/javascript,export const { useState, useRef, useEffect } = globalThis.wsticketTestReact" }
    : next(name, context)`));
const { useTicketSocket } = await import("../../react.js");

function mount(options, { strict = false } = {}) {
  const cells = [];
  const effects = () => cells.filter((cell) => cell.run);
  const end = (which) => which.forEach((cell) => { cell.end?.(); cell.end = undefined; });
  const begin = (which) => which.forEach((cell) => { cell.end = cell.run(); });
  const render = (options) => {
    Object.assign(React, { cells, at: 0 });
    const view = useTicketSocket(options);
    const due = effects().filter((cell) => cell.due);
    end(due);
    begin(due);
    return view;
  };
  render(options);
  if (strict) {
    end(effects());
    begin(effects());
  }
  return { render, unmount: () => end(effects()) };
}

const URL = "wss://gw.example/ws";

/** Options whose handlers note what they hear. */
function noted(getTicket, more) {
  const heard = [];
  const options = { url: URL, getTicket, onOpen: () => heard.push("open"), onMessage: ({ data }) => heard.push(data), onClose: ({ code, retryIn }) => heard.push(code + (retryIn === undefined ? " for good" : "")), ...more };
  return [options, heard];
}

test("under StrictMode one ticket is minted, and the handlers hear of one socket", async (t) => {
  const world = install(t), getTicket = minter(world);
  const [options, heard] = noted(getTicket);
  const { render } = mount(options, { strict: true });
  await settled();
  assert.deepEqual([getTicket.asked.length, world.sockets.length, heard], [1, 1, ["open"]]);
  assert.equal(render(options).status, "open");
  assert.equal(render(options).socket.readyState, 1);
});

test("a socket that was left for another says nothing more, nor does one whose component is gone", async (t) => {
  const world = install(t), getTicket = minter(world);
  const [options, heard] = noted(getTicket);
  const { render, unmount } = mount(options);
  await settled();
  const first = world.last;
  render({ ...options, url: URL + "?room=2" });
  await settled();
  first.message("late");
  assert.deepEqual([first.readyState, heard], [3, ["open", "open"]]);
  world.last.message("hello");
  unmount();
  await settled();
  assert.deepEqual([world.last.readyState, heard], [3, ["open", "open", "hello"]]);
  assert.equal(world.clock.waiting, 0);
});

test("a component that goes during the mint connects nothing", async (t) => {
  const world = install(t), getTicket = minter(world);
  let answer;
  getTicket.instead = () => new Promise((done) => { answer = done; });
  const [options, heard] = noted(getTicket);
  const { unmount } = mount(options);
  await settled();
  unmount();
  answer({ ticket: "t", expires_in: 10 });
  await world.clock.pass(1e6);
  assert.deepEqual([world.sockets.length, getTicket.asked.length, getTicket.asked[0].signal.aborted, heard], [0, 1, true, []]);
  assert.equal(world.clock.waiting, 0);
});

test("functions may be new in each render; url, ticketUrl, protocols and enabled make another socket", async (t) => {
  const world = install(t), getTicket = minter(world);
  let old = 0;
  const [options, heard] = noted(getTicket, { onMessage: () => { old++; }, protocols: ["a"] });
  const { render } = mount(options);
  await settled();
  render({ ...options, protocols: ["a"], getTicket: (request) => getTicket(request), onMessage: ({ data }) => heard.push("new " + data) });
  await settled();
  world.last.message("x");
  assert.deepEqual([world.sockets.length, old, heard], [1, 0, ["open", "new x"]]);
  for (const [change, sockets] of [[{ protocols: ["b"] }, 2], [{ protocols: ["b"], enabled: false }, 2], [{ protocols: ["b"], enabled: true }, 3], [{ protocols: ["b"], getTicket: undefined, ticketUrl: "/ticket" }, 4]]) {
    world.fetch = async () => Response.json({ ticket: "fetched", expires_in: 10 });
    render({ ...options, ...change });
    await settled();
    assert.equal(world.sockets.length, sockets, Object.keys(change).join());
    assert.ok(world.sockets.slice(0, -1).every((s) => s.readyState === 3));
    assert.equal(render({ ...options, ...change }).status, change.enabled === false ? "closed" : "open");
  }
});

test("the status tells how it ended, and onClose comes with each loss", async (t) => {
  for (const [status, code, want] of [[401, 3000, "unauthorized"], [403, 3000, "forbidden"], [400, 3000, "gaveup"], [200, 3003, "forbidden"]]) {
    const world = install(t), getTicket = minter(world);
    const [options, heard] = noted(getTicket);
    const { render } = mount(options);
    await settled();
    getTicket.instead = async () => new Response("", { status });
    world.last.end(code);
    if (code === 3000) assert.equal(render(options).status, "connecting");
    await world.clock.pass(60_000);
    assert.equal(render(options).status, want);
    assert.deepEqual(heard, code === 3003 ? ["open", "3003 for good"] : ["open", "3000", "1006 for good"]);
  }
});

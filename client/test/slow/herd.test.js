// The herd, run anew: what is written in docs/ is what comes out.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { connect } from "../../index.js";
import { draw, herd, measure, peak, SCENARIOS, usual, written } from "../herd.js";
import { scratch, slow } from "./programs.js";

const docs = new URL("../../../docs/", import.meta.url);

test("a thousand clients come back with no second above three times the mean", { skip: slow, timeout: 900_000 }, async (t) => {
  const results = await measure(connect, await usual(scratch()));
  for (const { name, wsticket } of results.scenarios) {
    t.diagnostic(`${name}: the fullest second has ${wsticket.peak.mint} times the mean at the mint, ${wsticket.peak.gateway} at the gateway`);
    assert.ok(wsticket.peak.mint <= 3 && wsticket.peak.gateway <= 3, name);
  }
  assert.equal(written(results), readFileSync(new URL("client-herd.json", docs), "utf8"), "run node client/test/herd.js");
  assert.equal(draw(results), readFileSync(new URL("client-herd.svg", docs), "utf8"), "run node client/test/herd.js");
  const page = readFileSync(new URL("client.md", docs), "utf8");
  for (const { name, wsticket, usual } of results.scenarios) {
    const row = `| ${name} | ${[wsticket, usual].map((r) => `${r.peak.mint.toFixed(1)} | ${r.peak.gateway.toFixed(1)}`).join(" | ")} |`;
    assert.ok(page.includes(row), `docs/client.md lacks: ${row}`);
  }
});

test("whenever the server comes back, and whatever chance has it", { skip: slow, timeout: 900_000 }, async (t) => {
  let worst = { peak: 0 };
  for (let down = 0.5, seed = 2; down < 100; down *= 1.7, seed++) {
    for (const refusing of [0, 5]) {
      const arrivals = await herd(connect, { down, refusing }, { seed });
      const most = Math.max(peak(arrivals.mint), peak(arrivals.gateway));
      if (most > worst.peak) worst = { peak: most, down, refusing };
      assert.ok(most <= 3, `down for ${down} s, refusing for ${refusing} s: ${most}`);
    }
  }
  t.diagnostic(`at worst ${worst.peak.toFixed(2)} times the mean, after ${worst.down.toFixed(1)} s down and ${worst.refusing} s of refusals`);
  assert.ok(SCENARIOS.length > 0);
});

#!/usr/bin/env bash
# Tests the client. In seconds, with Node 20 or later and nothing else:
#
#     client/test/test.sh
#
# With everything, in some minutes: mutants, the thousand clients, ten thousand
# reconnects, Chromium and Firefox, Node 22, Bun, Deno, esbuild, TypeScript. It needs Go
# and the browsers, and installs the rest from npm, as package-lock.json has it:
#
#     WSTICKET_SLOW=1 client/test/test.sh
#
# What is missing is skipped, or with CI=true a failure. What fails is told again at the end.
set -euo pipefail
cd "$(dirname "$0")"
if [ "${WSTICKET_SLOW:-}" = 1 ]; then
  [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci
  exec node --test --test-reporter=spec --test-concurrency=3 unit/*.test.js slow/*.test.js
fi
exec node --test --test-reporter=spec unit/*.test.js

#!/bin/sh
# Makes sure that there is a Chromium for the browser tests: one that is installed already, else
# from the system's packages, else Playwright's own. The first argument is the Python to use.
set -eu
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null 2>&1; then
        exit 0
    fi
done
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    if apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; then
        exit 0
    fi
fi
exec "$1" -m playwright install chromium

#!/bin/sh
# Print the path of a Chromium for the console's tests; install Debian's when there is none and we may.
set -eu
for found in "${CHROMIUM_PATH:-}" "$(command -v chromium || true)" "$(command -v chromium-browser || true)" \
    "$(command -v google-chrome || true)"; do
    if [ -n "$found" ] && [ -x "$found" ]; then
        echo "$found"
        exit 0
    fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing Debian's chromium for the console's tests…" >&2
    apt-get update -qq >&2 && apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core >&2
    command -v chromium
    exit 0
fi
echo "The console's tests need Chromium: install Debian's chromium, or name one with CHROMIUM_PATH." >&2
exit 1

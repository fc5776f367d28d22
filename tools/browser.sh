#!/bin/sh
# Print the path of a Chromium for the console's tests; install Debian's headless one where we may.
set -eu
found() {
    path=$(command -v "$1" || true)
    [ -n "$path" ] && [ -x "$path" ] && echo "$path"
}
if [ -n "${CHROMIUM_PATH:-}" ]; then
    found "$CHROMIUM_PATH" && exit 0
    echo "CHROMIUM_PATH names no program." >&2
    exit 1
fi
# Without the browser's own windows it takes the tests half of the CPU, so it is worth a download beside a whole browser.
found chromium-headless-shell && exit 0
install() {
    echo "Installing Debian's $1 for the console's tests…" >&2
    apt-get install -o DPkg::Lock::Timeout=300 -qq -y --no-install-recommends "$1" fonts-dejavu-core >&2 && found "$1"
}
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -o DPkg::Lock::Timeout=300 -qq >&2 || true
    install chromium-headless-shell && exit 0
fi
for name in chromium chromium-browser google-chrome; do
    found "$name" && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    install chromium && exit 0
fi
echo "The console's tests need Chromium: install Debian's chromium-headless-shell or chromium, or name one with CHROMIUM_PATH." >&2
exit 1

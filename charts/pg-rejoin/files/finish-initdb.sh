#!/bin/bash
# Run by the image's entrypoint after every other script of the first start: initdb and all of them are
# done, so what pg-rejoin-gate has marked as being initialised is whole from now on.
set -eu
rm -f "$PGDATA.initialising"
sync -f "$(dirname "$PGDATA")"

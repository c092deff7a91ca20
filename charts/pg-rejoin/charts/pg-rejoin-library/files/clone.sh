#!/bin/sh
# Fills an empty volume from the primary: runs in the init container "clone", in PostgreSQL's image,
# and only when pg-rejoin init has decided so by leaving the address in $PG_REJOIN_RUN_DIR/clone-from.
#
# The copy is made beside the data directory and renamed when it is whole and on disk, so that a half
# copy can never be mistaken for a data directory.
#
# The first try goes to the very pod that was confirmed. Kubernetes runs this container again without
# asking pg-rejoin init anew, so every further try goes to the primary's Service, which follows a failover.
set -eu

clone_from=$PG_REJOIN_RUN_DIR/clone-from
clone_from_service=$PG_REJOIN_RUN_DIR/clone-from-service
primary_conninfo=$PG_REJOIN_RUN_DIR/primary-conninfo.conf
copy=$PGDATA.clone

if [ ! -f "$clone_from" ]; then
  echo "clone: nothing to do"
  exit 0
fi

# A pod that was deleted by force may still be copying onto this volume. The same lock as the server's.
exec 9>>"$PGDATA.lock"
if ! flock -n 9; then
  echo "clone: error: another pod still uses this volume" >&2
  exit 21
fi

if [ -e "$PGDATA/PG_VERSION" ]; then
  echo "clone: error: $PGDATA is not empty" >&2
  exit 30
fi

umask 077
echo "clone: copying the primary to $copy"
rm -rf "$copy"
source=$(cat "$clone_from")
if [ -f "$clone_from_service" ]; then
  mv "$clone_from_service" "$clone_from"
fi
# Process 1 has no default action for SIGTERM: without a trap a deleted pod would take all of its grace.
copier=
trap 'echo "clone: interrupted" >&2; [ -z "$copier" ] || kill "$copier"; wait; exit 143' TERM INT
# The address holds no password: that is in the passfile it names.
pg_basebackup --no-password --dbname="$source" --pgdata="$copy" \
  --wal-method=stream --checkpoint=fast --label=pg-rejoin-clone &
copier=$!
wait "$copier"
copier=

chmod 0700 "$copy"
touch "$copy/standby.signal"
# The last line wins over what the primary's own standby time may have left there.
{ echo; cat "$primary_conninfo"; } >>"$copy/postgresql.auto.conf"
sync -f "$copy"

if [ -d "$PGDATA" ]; then
  rmdir "$PGDATA"
fi
# Left by an initdb that was cut short here and whose files somebody has removed.
rm -f "$PGDATA.initialising"
mv "$copy" "$PGDATA"
sync -f "$(dirname "$PGDATA")"
rm -f "$clone_from"
echo "clone: done"

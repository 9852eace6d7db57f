#!/bin/sh
# mount-for-bench.sh BACKING MOUNTPOINT: mount a vault for a measurement,
# making it first when BACKING is empty. FRONDFS names the binary (default:
# the dev or release build of this tree, else the installed one), FROND_OPTS
# further -o options, UNSAVED what unsaved.c makes, to be loaded before it.
set -eu

here=$(cd "$(dirname "$0")/../.." && pwd)
if [ -z "${FRONDFS:-}" ]; then
	for FRONDFS in "$here/build/release/tools/frondfs/frondfs" \
		"$here/build/dev/tools/frondfs/frondfs" frondfs; do
		[ -x "$FRONDFS" ] && break
	done
fi
pass=$(mktemp)
trap 'rm -f "$pass"' EXIT
echo bench >"$pass"
# not listed: that takes longer than to mount, where there are many files
if [ ! -e "$1/.frondfs" ]; then
	"$FRONDFS" init --passfile "$pass" --kdf-mem 8 --kdf-ops 1 "$1" >/dev/null
fi
[ -z "${UNSAVED:-}" ] || export LD_PRELOAD="$UNSAVED"
"$FRONDFS" mount --passfile "$pass" ${FROND_OPTS:+-o "$FROND_OPTS"} "$1" "$2"
if [ -n "${UNSAVED:-}" ]; then
	unset LD_PRELOAD
	echo 128 >"/sys/class/bdi/$(mountpoint -d "$2")/read_ahead_kb" || true
fi

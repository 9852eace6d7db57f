#!/bin/sh
# run.sh [--small]: measure frondfs beside what is installed of its peers
# (apt install gocryptfs securefs libfuse3-dev fio git make gcc linux-perf), and
# write docs/BENCHMARKS.md and docs/pictures/{bench,flame}-*.svg. As root, on a
# quiet machine; hours, or minutes with --small, which writes below $OUT
# (/tmp/frond-bench) instead. FRONDFS names the binary, SYSTEMS what to compare,
# PROFILED a build with frame pointers for the flame graphs (see flame.py), DISK
# a directory on a disk, for what the journal costs there. Measurements are kept
# in $OUT, where those of a run take the place of former ones when it has all of
# them (until then they lie in $OUT/new); report.py makes the page of them again.
# run.sh --help: this text.
set -eu

case ${1-} in
-h | --help)
	sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
	exit
	;;
esac
if [ $# -gt 1 ] || [ "${1---small}" != --small ]; then
	echo "run.sh: it takes --small or nothing, not '$*'; see" \
		"'run.sh --help'" >&2
	exit 2
fi

here=$(cd "$(dirname "$0")" && pwd)
docs=$(cd "$here/../../docs" && pwd)
OUT=${OUT:-/tmp/frond-bench}
new=$OUT/new
rm -rf "$new"
mkdir -p "$new"
if [ -z "${FRONDFS:-}" ]; then
	for FRONDFS in "$here/../../build/release/tools/frondfs/frondfs" \
		"$here/../../build/dev/tools/frondfs/frondfs" \
		"$(command -v frondfs || true)"; do
		[ -x "$FRONDFS" ] && break
	done
fi
export FRONDFS
table=''
once='--rounds 1'
more=''
flames=''
journal='--rounds 3 --mib 256 --files 3000'
if [ "${1:-}" = --small ]; then
	table="--rounds 1 --mib 32 --files 200 --tree /usr/include/linux"
	once=$table
	more=--small
	flames="--mib 64 --files 1000"
	journal=$table
	cp "$docs/BENCHMARKS.md" "$OUT"
	docs=$OUT
fi

# measure RESULT SCRIPT WORDS...: RESULT is the name in $new
measure()
{
	result=$1
	script=$2
	shift 2
	/usr/bin/python3 "$here/$script.py" "$@" --json "$new/$result.json"
}

# free memory that the hypervisor takes back: see hold_memory.c
if [ -d /sys/module/page_reporting ] && [ "${1:-}" != --small ]; then
	cc -O2 -o "$OUT/hold_memory" "$here/hold_memory.c"
	echo 3 >/proc/sys/vm/drop_caches
	"$OUT/hold_memory" >"$OUT/held" &
	trap 'kill $! 2>/dev/null || true' EXIT
	until [ -s "$OUT/held" ] || ! kill -0 $! 2>/dev/null; do sleep 1; done
fi
# shellcheck disable=SC2086  # words are options and names
{
	measure table compare $table ${SYSTEMS:-}
	measure unsaved compare $once --unsaved frondfs
	FROND_OPTS=shared,writeback=off measure before compare $once frondfs
	measure more more $more ${SYSTEMS:-}
	measure journal journal_cost $journal
	[ -z "${DISK:-}" ] || measure journal-ext4 journal_cost $journal \
		--root "$DISK" --ext4 4096
	if command -v perf >/dev/null; then
		[ ! -e /sys/kernel/tracing/events/fuse/fuse_request_send ] ||
			measure requests compare $once --requests ${SYSTEMS:-}
		FRONDFS=${PROFILED:-$FRONDFS} measure flames flame $flames \
			"$docs/pictures"
	fi
	# last: it binds this shell, too
	taskset -cp 0 $$ >/dev/null
	measure one compare $once ${SYSTEMS:-}
}
rm -f "$OUT"/*.json
mv "$new"/*.json "$OUT"
rmdir "$new"
/usr/bin/python3 "$here/report.py" "$OUT" "$docs/BENCHMARKS.md" "$docs/pictures"
echo "$docs/BENCHMARKS.md"

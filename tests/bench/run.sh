#!/bin/sh
# run.sh [--small]: measure frondfs beside what is installed of its peers
# (apt install gocryptfs securefs libfuse3-dev fio git make gcc linux-perf), and
# write docs/BENCHMARKS.md and docs/pictures/{bench,flame}-*.svg. As root, on a
# quiet machine; hours, or minutes with --small, which writes below $OUT
# (/tmp/frond-bench) instead. FRONDFS names the binary, SYSTEMS what to compare,
# PROFILED a build with frame pointers for the flame graphs (see flame.py).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
docs=$(cd "$here/../../docs" && pwd)
OUT=${OUT:-/tmp/frond-bench}
mkdir -p "$OUT"
if [ -z "${FRONDFS:-}" ]; then
	for FRONDFS in "$here/../../build/release/tools/frondfs/frondfs" \
		"$here/../../build/dev/tools/frondfs/frondfs" \
		"$(command -v frondfs || true)"; do
		[ -x "$FRONDFS" ] && break
	done
fi
export FRONDFS
table=''
before='--rounds 1'
more=''
flames=''
if [ "${1:-}" = --small ]; then
	table="--rounds 1 --mib 32 --files 200 --tree /usr/include/linux"
	before=$table
	more=--small
	flames="--mib 64 --files 1000"
	cp "$docs/BENCHMARKS.md" "$OUT"
	docs=$OUT
fi
python3=/usr/bin/python3
# shellcheck disable=SC2086  # words are options and names
$python3 "$here/compare.py" $table --json "$OUT/table.json" ${SYSTEMS:-}
# shellcheck disable=SC2086
FROND_OPTS=shared,writeback=off \
	$python3 "$here/compare.py" $before --json "$OUT/before.json" frondfs
rm -f "$OUT/more.json"
# shellcheck disable=SC2086
$python3 "$here/more.py" $more --json "$OUT/more.json" ${SYSTEMS:-}
# shellcheck disable=SC2086
[ -z "$(command -v perf)" ] || FRONDFS=${PROFILED:-$FRONDFS} \
	$python3 "$here/flame.py" $flames --json "$OUT/flames.json" "$docs/pictures"
$python3 "$here/report.py" "$OUT/table.json" "$OUT/before.json" \
	"$OUT/more.json" "$OUT/flames.json" "$docs/BENCHMARKS.md" "$docs/pictures"
echo "$docs/BENCHMARKS.md"

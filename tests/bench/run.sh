#!/bin/sh
# run.sh [--small]: measure frondfs beside what is installed of its peers
# (apt install gocryptfs securefs libfuse3-dev fio git make gcc), and write
# docs/BENCHMARKS.md and docs/pictures/bench-*.svg. As root, on a quiet
# machine; hours, or minutes with --small, which writes below $OUT
# (/tmp/frond-bench) instead. FRONDFS names the binary, SYSTEMS what to compare.
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
more=''
if [ "${1:-}" = --small ]; then
	table="--rounds 1 --mib 32 --files 200 --tree /usr/include/linux"
	more=--small
	cp "$docs/BENCHMARKS.md" "$OUT"
	docs=$OUT
fi
python3=/usr/bin/python3
# shellcheck disable=SC2086  # words are options and names
$python3 "$here/compare.py" $table --json "$OUT/table.json" ${SYSTEMS:-}
# shellcheck disable=SC2086
$python3 "$here/more.py" $more --json "$OUT/more.json" ${SYSTEMS:-}
$python3 "$here/report.py" "$OUT/table.json" "$OUT/more.json" \
	"$docs/BENCHMARKS.md" "$docs/pictures"
echo "$docs/BENCHMARKS.md"

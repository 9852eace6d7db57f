#!/bin/bash
# tests/run.sh [-k PATTERN] [STAGE...]: install what is missing, build, and run
# everything that must hold. Without stages: all of them, in this order.
#
#   packages  what the tests need, from apt
#   dev       gcc, every warning an error; unit tests
#   cases     tests/cases on real mounts
#   clang     the same build with clang; unit tests
#   format    clang-format, and scripts that parse
#   tidy      clang-tidy over fs/ and tools/
#   asan      address and undefined-behaviour sanitizers: units and cases
#   tsan      thread sanitizer: units and the cases with many threads
#   fuzz      every fuzz target for a few seconds
#   install   cmake --install puts everything where it belongs
#
# -h, --help  this text
# -k PATTERN  only the unit tests and cases whose name has this in it
# JOBS        how many at once (the number of CPUs)
# The last line is the count; the exit status is 0 when nothing failed.
set -u

all_stages="packages dev cases clang format tidy asan tsan fuzz install"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1
jobs=${JOBS:-$(nproc)}
many=$((jobs * 3)) # of what waits for something most of the time
pattern=
passed=0 failed=0 skipped=0 ahead= npm= memory=
export PYTHONDONTWRITEBYTECODE=1 LC_ALL=C.UTF-8

usage() {
	sed -n '2,/^set/s/^# \{0,1\}//p' "$root/tests/run.sh"
}

[ "${1:-}" != --help ] || set -- -h
while getopts k:h opt; do
	case $opt in
	k) pattern=$OPTARG ;;
	h)
		usage
		exit 0
		;;
	*)
		usage >&2
		exit 2
		;;
	esac
done
shift $((OPTIND - 1))
stages=${*:-$all_stages}
for stage in $stages; do
	[[ " $all_stages " == *" $stage "* ]] || {
		echo "run.sh: no stage is called '$stage'; there are: $all_stages" >&2
		exit 2
	}
done

# Real mounts as several users need root.
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo -n)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/frond tests XXXXXX")
chmod 755 "$tmp"
logs=$root/build/logs
[[ " $stages " != *" tidy "* ]] || rm -rf "$logs/tidy"
mkdir -p "$logs/tidy"

cleanup() {
	local job point
	for job in $(jobs -p) ${ahead:+-"$ahead"}; do
		kill -- "$job" 2>/dev/null
	done
	wait
	# What a test that was killed left mounted.
	while read -r point; do
		point=$(printf '%b' "$point")
		[[ $point == "$tmp"/* || $point == "${memory:-$tmp}"/* ]] &&
			"${as_root[@]}" umount -l "$point"
	done < <(cut -d' ' -f5 /proc/self/mountinfo | tac)
	"${as_root[@]}" rm -rf --one-file-system "$tmp" ${memory:+"$memory"}
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Old gcc's sanitizers and newest kernels disagree on how far addresses may
# be randomised.
fixed=()
setarch "$(uname -m)" -R true 2>/dev/null && fixed=(setarch "$(uname -m)" -R)

# A directory in memory, where there is enough of it and it can be what vaults
# need; else the one on disk. On disk run dev's units and most cases, which say
# what vaults do on one; sanitizers and big numbers ask for nothing of a disk.
in_memory() {
	local dir free
	if [ -z "$memory" ]; then
		memory=$tmp
		free=$(df -k --output=avail /dev/shm 2>/dev/null | tail -n 1)
		[ "${free:-0}" -lt $((6 << 20)) ] ||
			[ "$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)" -lt $((8 << 20)) ] ||
			! dir=$(mktemp -d "/dev/shm/frond tests XXXXXX") || memory=$dir
		chmod 755 "$memory"
		if ! setfattr -n user.frond -v 1 "$memory" 2>/dev/null &&
			[ "$memory" != "$tmp" ]; then
			rmdir "$memory" && memory=$tmp
		fi
	fi
}

fail() {
	echo "FAIL $*"
	failed=$((failed + 1))
}

# The arguments of cmake for a preset.
preset_arguments() {
	case $1 in
	dev | asan | tsan) echo -DCMAKE_C_COMPILER=gcc ;;
	fuzz) echo "-DFROND_FUZZ_SECONDS=${FROND_FUZZ_SECONDS:-3}" ;;
	esac
}

# What of a preset is looked at.
preset_target() {
	case $1 in
	tsan) echo threaded ;;
	fuzz) echo fuzz_targets ;;
	*) echo all ;;
	esac
}

# compile PRESET AT-ONCE: configure and build quietly.
compile() {
	local dir=build/$1 fresh=() arguments
	# A tree that was copied here has another place in its cache.
	if [ -e "$dir/CMakeCache.txt" ] &&
		! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$dir/CMakeCache.txt"; then
		fresh=(--fresh)
	fi
	read -ra arguments < <(preset_arguments "$1")
	cmake "${fresh[@]}" --preset "$1" "${arguments[@]}" &&
		cmake --build "$dir" -j "$2" --target "$(preset_target "$1")"
}

# Build what the later stages need while tests wait for something.
build_ahead() {
	local preset
	set +m # all one group
	exec 9>"$tmp/building" && flock 9
	renice -n 19 -p "$BASHPID" >/dev/null
	for preset in clang asan tsan fuzz release; do
		[[ " $stages " == *" ${preset/release/install} "* ]] || continue
		compile "$preset" 1 >"$logs/ahead-$preset.log" 2>&1 9>&-
	done
	exec 9>&-
	[[ " $stages " == *" tidy "* ]] && tidy_rest 1
}

begin_ahead() {
	[ -z "$ahead" ] || return 0
	set -m # a process group of its own, to end it as a whole
	build_ahead &
	ahead=$!
	disown "$ahead"
	set +m
}

# The other stages go on building their own, with all CPUs.
end_ahead() {
	[ -n "$ahead" ] || return 0
	kill -- -"$ahead" 2>/dev/null
	while kill -0 -- -"$ahead" 2>/dev/null; do sleep 0.1; done
	ahead=
}

build() {
	local log=$logs/build-$1.log
	if (
		exec 9>"$tmp/building" && flock 9
		compile "$1" "$jobs" 9>&-
	) >"$log" 2>&1; then
		passed=$((passed + 1))
		return 0
	fi
	tail -n 60 "$log"
	fail "build of $1 (whole log: $log)"
	return 1
}

# Counts cmocka's cases; a test program without any counts as one.
count_ctest() {
	awk '
	match($0, /^[0-9]+: \[/) {
		id = $1 + 0
		if (/\[ +OK \]/) ok[id]++
		else if (/\[ +FAILED +\]/ && !/test\(s\)/) bad[id, $NF]++ || nbad[id]++
		else if (/\[ +SKIPPED +\]/ && !/test\(s\)/) left[id, $NF]++ || nleft[id]++
	}
	/^ *[0-9]+\/[0-9]+ Test +#[0-9]+:/ {
		sub(/^[^#]*#/, ""); id = $1 + 0
		if (/\*\*\*Skipped/) s++
		else if (/ Passed /) p += ok[id] ? ok[id] : 1
		else { p += ok[id]; f += nbad[id] ? nbad[id] : 1 }
		s += nleft[id]
	}
	END { print p + 0, f + 0, s + 0 }' "$1"
}

# units STAGE DIR [CTEST-ARGUMENT...]: more at once than there are CPUs, for
# many wait: for the next second, or for a disk.
units() {
	local stage=$1 dir=$2 log=$logs/units-$1.log place=() p f s
	shift 2
	in_memory
	[[ $stage != ?san ]] || place=("TMPDIR=$memory")
	[ -n "$pattern" ] && set -- "$@" -R "$pattern"
	env "${place[@]}" "${fixed[@]}" ctest --test-dir "$dir" -V -j "$many" --timeout 300 \
		"$@" >"$log" 2>&1 </dev/null
	read -r p f s < <(count_ctest "$log")
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	echo "  units: $p passed, $f failed, $s skipped"
	if [ "$f" != 0 ] || { [ -z "$pattern" ] && [ "$p" = 0 ]; }; then
		grep -E 'FAILED|Error:|\*\*\*|ERROR|runtime error|: error' "$log" | head -n 60
		[ "$p$f" = 00 ] && fail "no unit test ran"
		echo "  whole log: $log"
	fi
}

# One case; called in the background. Its log ends with status and seconds.
run_case() {
	local path=$1 log=$2 began=$SECONDS
	shift 2
	[ -e build/npm/wanted ] && set -- "FROND_NPM=$root/build/npm" "$@"
	"${as_root[@]}" env "CI=${CI:-}" "$@" "${fixed[@]}" \
		timeout -k 30 900 "$path" >"$log" 2>&1 </dev/null
	echo "=== $? $((SECONDS - began))" >>"$log"
}

judge_case() {
	local name=$1 log=$2 status seconds p f s word=ok
	read -r _ status seconds < <(tail -n 1 "$log")
	p=$(grep -c '^ok ' "$log")
	f=$(grep -c '^FAIL ' "$log")
	s=$(grep -c '^skip ' "$log")
	if [ "$status" = 0 ]; then
		[ $((p + f + s)) = 0 ] && p=1
	elif [ "$status" = 77 ]; then
		[ "$s" = 0 ] && s=1
	elif [ "$f" = 0 ]; then
		f=1
	fi
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	[ "$f" != 0 ] && word=FAIL
	printf '  %-4s %s: %s passed, %s failed, %s skipped, %s s\n' \
		"$word" "$name" "$p" "$f" "$s" "$seconds"
	grep '^skip ' "$log" | sed 's/^/       /'
	[ "$f" = 0 ] || sed 's/^/    | /' "$log" | tail -n 80
}

# The long ones first, so that the CPUs are busy to the end.
list_cases() {
	local name first
	first="idle big_directory telegram_story build_self share_mount share_story"
	first+=" rollback_names tgshare_cli model_random resource_bounds real_work share_attacks"
	first+=" telegram_agent telegram_trouble telegram soak kill9 shared_mounts"
	for name in $first; do
		ls "tests/cases/$name".* 2>/dev/null
	done
	find tests/cases -maxdepth 1 -type f -perm -u+x | sort |
		grep -vE "/(${first// /|})\."
}

matches() {
	if [[ $2 == !* ]]; then
		[[ ! $1 =~ ${2#!} ]]
	else
		[[ $1 =~ $2 ]]
	fi
}

# cases STAGE DIR SCALE REGEX [VARIABLE=VALUE...]; !REGEX: all others.
cases() {
	local stage=$1 dir=$2 scale=$3 regex=$4
	local path name place running=0 todo=()
	shift 4
	in_memory
	mkdir -p "$logs/$stage"
	while read -r path; do
		name=$(basename "$path")
		matches "$name" "$regex" && [[ $name == *"$pattern"* ]] || continue
		todo+=("$name")
		[ "$running" -ge "$many" ] && wait -n && running=$((running - 1))
		place=$tmp
		if [ "$stage" = cases ]; then
			[[ $name =~ ^(big_|build_self|hole_storm|resource_bounds) ]] && place=$memory
		else
			# but what is compared with a plain directory that can do
			# more, and what takes /dev away
			[[ $name =~ ^(model_random|conformance|cli_mount) ]] || place=$memory
		fi
		run_case "$root/$path" "$logs/$stage/$name.log" "TMPDIR=$place" \
			"BUILD=$root/$dir" "FROND_SCALE=$scale" "$@" &
		running=$((running + 1))
	done < <(list_cases)
	wait
	for name in "${todo[@]}"; do
		judge_case "$name" "$logs/$stage/$name.log"
	done
	[ -n "$pattern" ] || [ ${#todo[@]} != 0 ] || fail "no case was found"
}

# Sanitizers of daemons in the background report to files.
sanitizer_reports() {
	local report
	for report in "$1"/*; do
		# empty: killed, as tests do, while it was looked for leaks
		[ -s "$report" ] || continue
		"${as_root[@]}" head -n 60 "$report"
		fail "sanitizer report $(basename "$report")"
	done
}

# What the cases need from npm, once for all of them; alone, they fetch it
# themselves.
npm_packages() {
	local wanted
	wanted=$(grep -hoE '"[a-z][a-z0-9-]*@[0-9][0-9.]*"' tests/cases/*.py |
		tr -d '"' | sort -u | tr '\n' ' ')
	[ "$(cat build/npm/wanted 2>/dev/null)" = "$wanted" ] && return
	mkdir -p build/npm && rm -f build/npm/wanted
	# shellcheck disable=SC2086  # words are packages
	if npm install --silent --no-audit --no-fund --prefix build/npm $wanted \
		>"$logs/npm.log" 2>&1; then
		echo "$wanted" >build/npm/wanted
	else
		echo "  npm install failed (whole log: $logs/npm.log)"
	fi
}

stage_packages() {
	contrib/install-deps.sh build recover test || return 1
	npm_packages & # the cases wait for it
	npm=$!
	if [ ! -e /dev/fuse ]; then
		"${as_root[@]}" modprobe fuse 2>/dev/null ||
			"${as_root[@]}" mknod -m 666 /dev/fuse c 10 229 2>/dev/null
	fi
	[ -e /dev/fuse ] || echo "  no /dev/fuse: cases on real mounts cannot run"
}

stage_dev() {
	build dev || return 0
	begin_ahead
	units dev build/dev
}

stage_cases() {
	[ -x build/dev/tools/frondfs/frondfs ] || build dev ||
		return 0
	begin_ahead
	[ -z "$npm" ] || wait "$npm"
	cases cases build/dev "${FROND_SCALE:-1}" .
}

stage_clang() {
	build clang || return 0
	# What dies at every call has done so, and what seals is not ours. On disk:
	# see in_memory.
	units clang build/clang -E "crash|faults|rekey|_(openssl|ipsecmb)$"
}

stage_format() {
	local bad
	bad=$(find fs tools tests -name '*.[ch]' -print0 |
		xargs -0 clang-format --dry-run 2>&1 | grep -c 'warning:')
	if [ "$bad" = 0 ]; then
		passed=$((passed + 1))
	else
		find fs tools tests -name '*.[ch]' -print0 |
			xargs -0 clang-format --dry-run 2>&1 | grep 'warning:' | head -n 20
		fail "clang-format"
	fi
	if find tests contrib -name '*.py' -print0 | xargs -0 /usr/bin/python3 -c '
import sys
for path in sys.argv[1:]:
    compile(open(path, encoding="utf-8").read(), path, "exec")' &&
		find tests contrib .ci -name '*.sh' -o -path .ci/run | while read -r path; do
			bash -n "$path" || exit 1
		done; then
		passed=$((passed + 1))
	else
		fail "scripts that do not parse"
	fi
}

# tidy_one FILE: what clang-tidy says of it, and "ok" if that is nothing.
tidy_one() {
	local log=$logs/tidy/${1//\//_}.log
	# a third of the nodes finds what all of them do, in a third of the time
	clang-tidy -quiet -p build/clang \
		-extra-arg=-Xclang -extra-arg=-analyzer-config \
		-extra-arg=-Xclang -extra-arg=max-nodes=75000 "$1" >"$log.new" 2>&1 &&
		echo ok >>"$log.new"
	mv "$log.new" "$log"
}

# tidy_rest AT-ONCE: all files that have not been looked at yet. The largest
# first, so that the CPUs are busy to the end.
tidy_rest() {
	local file running=0
	while read -r file; do
		[ -e "$logs/tidy/${file//\//_}.log" ] && continue
		[ "$running" -ge "$1" ] && wait -n && running=$((running - 1))
		tidy_one "$file" &
		running=$((running + 1))
	done < <(sed -n 's/^ *"file": "\(.*\)".*/\1/p' build/clang/compile_commands.json |
		grep -E "^$root/(fs|tools)/" | sort -u | xargs -d '\n' ls -S)
	wait
}

stage_tidy() {
	local log=$logs/tidy.log bad left
	[ -e build/clang/compile_commands.json ] || build clang || return 0
	tidy_rest "$jobs"
	cat "$logs"/tidy/*.log >"$log"
	left=$(grep -L '^ok$' "$logs"/tidy/*.log)
	if [ -z "$left" ]; then
		passed=$((passed + 1))
		return
	fi
	bad=$(sed 's/\x1b\[[0-9;]*m//g' "$log" | grep -E '(error|warning): ' | sort -u)
	echo "$bad" | head -n 40
	fail "clang-tidy: $(echo "$bad" | wc -l) findings (whole log: $log)"
}

stage_asan() {
	local reports=$tmp/asan
	mkdir -m 1777 "$reports"
	local common="log_path='$reports/report':exitcode=99"
	build asan || return 0
	export ASAN_OPTIONS="$common:detect_leaks=1"
	export UBSAN_OPTIONS="$common:print_stacktrace=1"
	# the cases look at fs/mount
	units asan build/asan -E "served_"
	# these run no code of ours that the others do not run; what compilers ask
	# of a mount, real_work's programs ask as well
	cases asan build/asan "${FROND_SCALE:-0.1}" \
		'!^(botapi|build_self|telegram_story)' \
		"ASAN_OPTIONS=$ASAN_OPTIONS" "UBSAN_OPTIONS=$UBSAN_OPTIONS"
	unset ASAN_OPTIONS UBSAN_OPTIONS
	sanitizer_reports "$reports"
}

stage_tsan() {
	local reports=$tmp/tsan
	mkdir -m 1777 "$reports"
	build tsan || return 0
	export TSAN_OPTIONS="log_path='$reports/report':exitcode=99:second_deadlock_stack=1"
	# where calls fail, threads meet as in these
	units tsan build/tsan -L threads -E "faults/[^fot]"
	cases tsan build/tsan "${FROND_SCALE:-0.1}" \
		'^(model_|parallel_|locks|shared_|share_(mount|control)|busy_|posix_(unlinked|readdir|names))' \
		"TSAN_OPTIONS=$TSAN_OPTIONS"
	unset TSAN_OPTIONS
	sanitizer_reports "$reports"
}

stage_fuzz() {
	build fuzz || return 0
	units fuzz build/fuzz -L fuzz
}

stage_install() {
	local prefix=$tmp/prefix file link
	build release || return 0
	# A list of what was really installed may lie there, to uninstall it.
	[ -e build/release/install_manifest.txt ] &&
		cp build/release/install_manifest.txt "$tmp/manifest"
	cmake --install build/release --prefix "$prefix" >"$logs/install.log" 2>&1 ||
		fail "cmake --install"
	rm -f build/release/install_manifest.txt
	[ -e "$tmp/manifest" ] && cp "$tmp/manifest" build/release/install_manifest.txt
	for file in bin/frondfs share/man/man1/frondfs.1 share/man/man5/frondfs-format.5 \
		share/frondfs/recover.py share/bash-completion/completions/frondfs; do
		if [ -s "$prefix/$file" ]; then
			passed=$((passed + 1))
		else
			fail "$file was not installed"
		fi
	done
	link=$(find "$prefix" -name mount.frondfs -type l)
	if [ -n "$link" ] && [ "$(readlink -f "$link")" = "$(readlink -f "$prefix/bin/frondfs")" ] &&
		"$prefix/bin/frondfs" --version >/dev/null; then
		passed=$((passed + 1))
	else
		fail "mount.frondfs is not a link to a frondfs that runs"
	fi
	if man --warnings -E UTF-8 -l "$prefix/share/man/man1/frondfs.1" 2>&1 >/dev/null | grep .; then
		fail "frondfs(1) has warnings"
	else
		passed=$((passed + 1))
	fi
}

for stage in $stages; do
	echo "== $stage"
	began=$SECONDS
	[ "$stage" = cases ] || end_ahead
	"stage_$stage" || fail "stage $stage"
	echo "== $stage: $((SECONDS - began)) s"
done
echo "all: $SECONDS s"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]

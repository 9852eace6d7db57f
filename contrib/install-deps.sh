#!/bin/sh
# install-deps.sh [build] [recover] [test]: install the Debian packages that a
# part of the project needs, where they are missing (build, unless one is
# named). Uses sudo unless root.
set -eu

case ${1:-} in
-h | --help)
	sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
	exit 0
	;;
esac

build="gcc cmake ninja-build pkg-config libfuse3-dev fuse3 libsodium-dev
	libssl-dev libseccomp-dev libinih-dev libcurl4-openssl-dev libjansson-dev libqrencode-dev
	libsqlite3-dev libxxhash-dev"
# intel-ipsec-mb exists for x86-64 only; elsewhere OpenSSL does its work.
[ "$(dpkg --print-architecture)" = amd64 ] && build="$build libipsec-mb-dev"
recover="python3 python3-cryptography python3-nacl"
test="libcmocka-dev clang clang-format clang-tidy libclang-rt-14-dev python3-argon2
	acl attr btrfs-progs curl e2fsprogs faketime file fio git libcap2-bin make man-db procps openssl psmisc rsync
	sqlite3 strace stress-ng sudo tar util-linux xfsprogs xz-utils"
# Node.js from elsewhere has its npm, which Debian's would be at odds with.
command -v npm >/dev/null || test="$test nodejs npm"

want=
for part in "${@:-build}"; do
	case $part in
	build) want="$want $build" ;;
	recover) want="$want $recover" ;;
	test) want="$want $test" ;;
	*)
		echo "install-deps.sh: no part is called '$part'; there are:" \
			"build, recover, test" >&2
		exit 2
		;;
	esac
done

missing=
for package in $want; do
	dpkg-query -W -f='${Status}' "$package" 2>/dev/null |
		grep -q 'ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

echo "Installing:$missing"
as_root=
if [ "$(id -u)" != 0 ]; then
	as_root=sudo
	command -v sudo >/dev/null || {
		echo "install-deps.sh: not root, and no sudo: as root, run" \
			"apt-get install$missing" >&2
		exit 1
	}
fi
$as_root apt-get -qq update
# shellcheck disable=SC2086  # words are packages
$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
	--no-install-recommends install $missing >/dev/null

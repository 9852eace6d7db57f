#!/bin/sh
# demo.sh: install what is missing, build frondfs, and show it on real files.
# demo.sh --keep FOLDER: build it, and leave FOLDER mounted for you, with its
# encrypted side in FOLDER.vault.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
frondfs=$here/build/release/tools/frondfs/frondfs

say() {
	printf '\n\033[1m%s\033[0m\n' "$*"
}

build() {
	say "Installing what is missing, and building"
	sh "$here/contrib/install-deps.sh" build recover
	cd "$here"
	cmake --preset release >/dev/null
	cmake --build --preset release >/dev/null
	cd - >/dev/null
	"$frondfs" --version
}

# A word that a shell reads back as it is.
quoted() {
	printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"
}

keep() {
	mkdir -p "$1"
	folder=$(cd "$1" && pwd)
	if [ ! -e "$folder.vault" ] && [ -n "$(ls -A "$folder")" ]; then
		echo "demo.sh: '$folder' is not empty; name a new folder" >&2
		exit 1
	fi
	[ -e "$folder.vault" ] || "$frondfs" init "$folder.vault"
	"$frondfs" mount "$folder.vault" "$folder"
	say "$folder is your encrypted folder; its tokens are in $folder.vault"
	echo "Done with it:  $(quoted "$frondfs") umount $(quoted "$folder")"
	echo "Next time:     $(quoted "$frondfs") mount" \
		"$(quoted "$folder.vault") $(quoted "$folder")"
}

case ${1:-} in
'') ;;
--keep)
	[ $# -eq 2 ] || {
		echo "usage: demo.sh [--keep FOLDER]" >&2
		exit 2
	}
	build
	keep "$2"
	exit
	;;
*)
	echo "usage: demo.sh [--keep FOLDER]" >&2
	exit 2
	;;
esac

work=$(mktemp -d)
clean_up() {
	cd /
	"$frondfs" umount "$work/Secure" 2>/dev/null || true
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
build
cd "$work"
echo 'correct horse battery staple' >passphrase

say "1. A vault, and a folder to see it through"
"$frondfs" init --passfile passphrase .secure
mkdir Secure
"$frondfs" mount --passfile passphrase .secure Secure

say "2. Real files go in, with ordinary programs"
cp -r "$here/docs" "$here/README.md" "$here/LICENSE" Secure/
ln -s docs/FORMAT.md Secure/format
ls -l Secure
grep -m1 Copyright Secure/LICENSE

say "3. What lies behind: names and contents are tokens"
find .secure -not -path '*/.frondfs*' | head -8
"$frondfs" info Secure/LICENSE

say "4. The same file, read with Python's Fernet and the passphrase alone"
/usr/bin/python3 "$here/contrib/recover.py" --passfile passphrase list .secure | head -8
/usr/bin/python3 "$here/contrib/recover.py" --passfile passphrase extract .secure out
cmp out/LICENSE "$here/LICENSE" && echo "out/LICENSE is the LICENSE, to the byte"

say "5. Unmounted, only tokens remain"
"$frondfs" umount Secure
ls -A Secure
if grep -rq Copyright .secure; then
	echo "plaintext found in the backing directory" >&2
	exit 1
fi
echo "no plaintext in .secure; the demonstration is over and cleaned up"

#!/bin/sh
# demo.sh: install what is missing, build frondfs, and show it on real files.
# demo.sh --keep FOLDER: build it, and leave FOLDER mounted for you, with its
# encrypted side in FOLDER.vault.
# BUILD=DIRECTORY demo.sh: show what is built there already.
# demo.sh --help: this text.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
built=${BUILD:-$here/build/release}
frondfs=$built/tools/frondfs/frondfs
tgshare=$built/tools/tgshare/tgshare

say() {
	printf '\n\033[1m%s\033[0m\n' "$*"
}

build() {
	[ -z "${BUILD:-}" ] || return 0
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

refuse() {
	echo "demo.sh: $*; see 'demo.sh --help'" >&2
	exit 2
}

case ${1-} in
-h | --help)
	sed -n '2,/^set/s/^# \{0,1\}//p' "$here/contrib/demo.sh"
	exit
	;;
--keep)
	if [ $# -ne 2 ] || [ -z "$2" ]; then
		refuse "--keep wants one folder"
	fi
	build
	keep "$2"
	exit
	;;
*)
	[ $# -eq 0 ] || refuse "there is no '$1'"
	;;
esac

work=$(mktemp -d)
server=
clean_up() {
	cd /
	[ -z "$server" ] || kill "$server" 2>/dev/null || true
	for person in Secure alice bob carol; do
		"$frondfs" umount "$work/$person" 2>/dev/null || true
	done
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
build
cd "$work"
# what mounts remember of vaults that are soon gone
export XDG_STATE_HOME="$work/state"
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
echo "no plaintext in .secure"

say "6. Alice, Bob and Carol each have a vault and a bot, and know each other's cards"
# Instead of Telegram, a server on this machine that answers as it does.
mkdir telegram
/usr/bin/python3 "$here/tests/botapi/server.py" --no-limits telegram >port &
server=$!
while [ ! -s port ]; do
	kill -0 "$server"
	sleep 0.1
done
api=http://127.0.0.1:$(cat port)
botfather() { # USERNAME: make a bot; its token
	/usr/bin/python3 - "$api" "$1" <<-'EOF'
		import json, sys, urllib.request
		query = {"do": "add_bot", "username": sys.argv[2], "bot_to_bot": True}
		request = urllib.request.Request(sys.argv[1] + "/control", json.dumps(query).encode())
		print(json.load(urllib.request.urlopen(request))["token"])
	EOF
}
for person in alice bob carol; do
	"$frondfs" init --passfile passphrase --kdf-mem 8 --kdf-ops 1 ".$person" >/dev/null
	mkdir "$person"
	"$frondfs" mount --passfile passphrase ".$person" "$person"
	botfather "${person}_bot" >token
	"$tgshare" setup --vault "$person" --name "$person" --bot-token-file token \
		--api-base "$api" >/dev/null
done
rm token
tg() { # PERSON COMMAND...: at whose terminal
	who=$1
	shift
	line="$who\$ tgshare"
	for word; do
		case $word in
		*[!A-Za-z0-9/.,_-]*) word=$(quoted "$word") ;;
		esac
		line="$line $word"
	done
	echo "$line" >&2
	TGSHARE_VAULT=$who "$tgshare" "$@"
}
know() {
	"$tgshare" card --vault "$2" | "$tgshare" contact add "$2" - --vault "$1" >/dev/null
}
for one in alice bob carol; do
	for other in alice bob carol; do
		[ "$one" = "$other" ] || know "$one" "$other"
	done
done
tg alice card
tg alice contact list

say "7. Alice sends Bob a report; opening it takes his share and Carol's"
cp "$here/docs/THREATS.md" alice/report.md
tg alice send alice/report.md --to bob --shares 2 --threshold 2 --via bob,carol

say "8. Bob sees it at once, with its true size. It is locked"
tg bob receive
ls -l bob/Shared/alice
cat bob/Shared/alice/report.md || true
tg bob status

say "9. Carol agrees, and it opens"
tg carol receive
tg carol release --all
tg bob receive
head -n 3 bob/Shared/alice/report.md
cmp bob/Shared/alice/report.md "$here/docs/THREATS.md" && echo "to the byte"

say "10. Dave has no vault, only a telephone: Alice sends him a link, he presses Start"
dave() { # what he does on his telephone
	/usr/bin/python3 "$here/tests/botapi/telephone.py" "$api" Dave "$@"
}
tg alice contact chat dave --link >dave.link
cat dave.link
link=$(sed -n 's/^https.*start=//p' dave.link)
dave start alice_bot "$link"
tg alice receive
echo 'the ferns are yours' >alice/will
tg alice send alice/will --to bob --shares 2 --threshold 2 --via bob,dave \
	--note "Dear Dave, please pass this on when I am gone."
echo "Dave's telephone:"
dave show alice_bot

say "11. Dave forwards it to Bob's bot, and Bob can read it"
tg bob receive
cat bob/Shared/alice/will || true
dave start bob_bot
dave forward alice_bot bob_bot
tg bob receive
cat bob/Shared/alice/will
echo "Dave's telephone:"
dave show bob_bot

say "12. Alice lets Bob read a file of hers as it is and will be, and takes that back"
echo 'the plan: plant ferns' >alice/plan
"$frondfs" attach bob alice "$work/.alice"
tg alice grant alice/plan --to bob
tg bob receive
cat bob/Shared/alice/plan
echo 'the plan: plant more ferns' >alice/plan
sync alice/plan
sleep 1.5
cat bob/Shared/alice/plan
tg alice revoke alice/plan --from bob
tg bob receive
cat bob/Shared/alice/plan || true

say "13. Who did what"
"$tgshare" receive --vault alice >/dev/null
tg alice log
tg alice log --verify
say "The demonstration is over and cleaned up"

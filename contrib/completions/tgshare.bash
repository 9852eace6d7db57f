# Completion of tgshare(1) for bash.

_tgshare_mounts() {
	local point type line
	while read -r line; do
		type=${line#* - }
		[[ $type == fuse.frondfs\ * ]] || continue
		read -r _ _ _ _ point _ <<<"${line//\\/\\\\}"
		printf '%b\n' "${point//\\/\\0}"
	done </proc/self/mountinfo
}

# names, and after a comma the next one
_tgshare_names() {
	local before='' word=$cur names
	if [[ $cur == *,* && $1 == list ]]; then
		before=${cur%,*},
		word=${cur##*,}
	fi
	names=$(tgshare contact list 2>/dev/null | sed 's/  .*//')
	local IFS=$'\n'
	mapfile -t COMPREPLY < <(compgen -P "$before" -W "$names" -- "$word")
}

_tgshare_sets() {
	mapfile -t COMPREPLY < <(compgen -W "$(tgshare status 2>/dev/null |
		grep -oE '^[0-9a-f]{8}')" -- "$cur")
}

_tgshare() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local command=${COMP_WORDS[1]} options
	local commands="setup card contact send grant release receive agent
		status revoke log export import split combine"

	case $prev in
	--vault)
		local IFS=$'\n'
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -W "$(_tgshare_mounts)" -- "$cur")
		return
		;;
	--to | --via)
		_tgshare_names list
		return
		;;
	--from)
		_tgshare_names one
		return
		;;
	--transport)
		mapfile -t COMPREPLY < <(compgen -W "dir: telegram" -- "$cur")
		compopt -o nospace
		return
		;;
	-o | --output | --bot-token-file)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--shares | --threshold)
		mapfile -t COMPREPLY < <(compgen -W "1 2 3 4 5 6 7 8 9 10 11 12 13
			14 15 16" -- "$cur")
		return
		;;
	--name | --note | --expires | --wait | --fingerprint | --api-base | \
		--part-size) return ;;
	esac
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W \
			"$commands help --help --version" -- "$cur")
		return
	fi
	case $command in
	setup) options="--name --new-keys --transport --bot-token-file --api-base --part-size" ;;
	card) options="--qr" ;;
	contact) options="--fingerprint --link" ;;
	send) options="--to --shares --threshold --via --no-content --expires
		--note" ;;
	grant) options="--to --shares --threshold --via --expires" ;;
	release) options="--all" ;;
	receive) options="--wait" ;;
	status) options="--all --json" ;;
	revoke) options="--from" ;;
	log) options="--verify --json" ;;
	export) options="-o --to" ;;
	split) options="--shares --threshold --qr" ;;
	combine) options="-o" ;;
	esac
	if [[ $cur == -* ]]; then
		[[ $command == combine ]] || options="$options --vault"
		mapfile -t COMPREPLY < <(compgen -W "$options --help" -- "$cur")
		return
	fi
	case $command in
	help) mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur") ;;
	contact)
		if ((COMP_CWORD == 2)); then
			mapfile -t COMPREPLY < <(compgen -W \
				"add list show verify chat remove" -- "$cur")
		elif ((COMP_CWORD == 3)); then
			_tgshare_names one
		else
			compopt -o filenames
			mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		fi
		;;
	release) _tgshare_sets ;;
	send | grant | revoke | export | import | split | combine)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		;;
	esac
}

complete -F _tgshare tgshare

# Completion of frondfs(1) for bash.

_frondfs_mounts() {
	# findmnt may be missing, and its quoting would have to be undone
	local point type line
	while read -r line; do
		type=${line#* - }
		[[ $type == fuse.frondfs\ * ]] || continue
		read -r _ _ _ _ point _ <<<"${line//\\/\\\\}"
		printf '%b\n' "${point//\\/\\0}"
	done </proc/self/mountinfo
}

_frondfs_mount_options() {
	local before='' word=$cur
	if [[ $cur == *,* ]]; then
		before=${cur%,*},
		word=${cur##*,}
	fi
	mapfile -t COMPREPLY < <(compgen -P "$before" -W "ro allow_other
		allow_root idle= log= shared writeback=on writeback=off xattr=on
		xattr=off suid dev noexec nonempty fsname= passfile= extpass=
		accept-old remember=on remember=off confine=on confine=off sync dirsync auto_unmount" -- "$word")
	compopt -o nospace
}

_frondfs() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local command=${COMP_WORDS[1]} options

	case $prev in
	--passfile | --new-passfile)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--extpass)
		mapfile -t COMPREPLY < <(compgen -c -- "$cur")
		return
		;;
	--kdf-mem | --kdf-ops | --jobs) return ;;
	-o)
		_frondfs_mount_options
		return
		;;
	esac
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W \
			"init mount umount passwd info check accept-old attach help --help --version" \
			-- "$cur")
		[[ $cur == */* ]] || return
		command=mount
	fi
	case $command in
	init) options="--passfile --extpass --kdf-mem --kdf-ops --help" ;;
	passwd) options="--passfile --extpass --new-passfile --accept-old --help" ;;
	info) options="--json --help" ;;
	check) options="--repair --jobs --json --passfile --extpass --help" ;;
	umount) options="--help" ;;
	accept-old) options="--help" ;;
	attach) options="--list --remove --help" ;;
	help)
		mapfile -t COMPREPLY < <(compgen -W \
			"init mount umount passwd info check accept-old attach" -- "$cur")
		return
		;;
	*) options="-f -o --foreground --passfile --extpass --help" ;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		return
	fi
	compopt -o filenames
	case $command in
	umount)
		local IFS=$'\n'
		mapfile -t COMPREPLY < <(compgen -W "$(_frondfs_mounts)" \
			-- "$cur")
		;;
	info | accept-old) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	*) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	esac
}

complete -F _frondfs frondfs

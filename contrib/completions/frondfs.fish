# Completion of frondfs(1) for fish.

set -l commands init mount umount passwd info check accept-old attach help
set -l none "not __fish_seen_subcommand_from $commands"

function __frondfs_mounts
    findmnt -rno TARGET -t fuse.frondfs 2>/dev/null | string unescape
end

function __frondfs_mount_options
    set -l before (commandline -ct | string replace -r '[^,]*$' '')
    for option in ro allow_other allow_root idle= log= shared writeback=on \
            writeback=off xattr=on xattr=off suid dev noexec nonempty fsname= \
            passfile= extpass= accept-old remember=off confine=on confine=off sync dirsync auto_unmount
        echo $before$option
    end
end

complete -c frondfs -f
complete -c frondfs -n $none -a init -d 'Make a vault'
complete -c frondfs -n $none -a mount -d 'Mount a vault'
complete -c frondfs -n $none -a umount -d 'Unmount a vault'
complete -c frondfs -n $none -a passwd -d 'Change the passphrase of a vault'
complete -c frondfs -n $none -a info -d 'Tell about a vault or a file in a mount'
complete -c frondfs -n $none -a check -d 'Verify a vault, and repair it'
complete -c frondfs -n $none -a accept-old -d 'Say that an older file is right'
complete -c frondfs -n $none -a attach -d 'Say where the granted files of a contact lie'
complete -c frondfs -n $none -a help -d 'Tell about a command'
complete -c frondfs -n $none -l version -d 'Show the version'
complete -c frondfs -l help -d 'Show help'

complete -c frondfs -n '__fish_seen_subcommand_from help' -a 'init mount umount passwd info check accept-old attach'
complete -c frondfs -n '__fish_seen_subcommand_from init mount passwd check attach' -a '(__fish_complete_directories)'
complete -c frondfs -n '__fish_seen_subcommand_from umount' -a '(__frondfs_mounts)'
complete -c frondfs -n '__fish_seen_subcommand_from info accept-old' -F
complete -c frondfs -n '__fish_seen_subcommand_from info' -l json -d 'As a JSON object'
complete -c frondfs -n '__fish_seen_subcommand_from check' -l repair -d 'Put right what can be'
complete -c frondfs -n '__fish_seen_subcommand_from check' -l jobs -x -d 'Threads'
complete -c frondfs -n '__fish_seen_subcommand_from check' -l json -d 'As a JSON object'
complete -c frondfs -n '__fish_seen_subcommand_from attach' -l list -d 'Who is attached'
complete -c frondfs -n '__fish_seen_subcommand_from attach' -l remove -x -d 'Nobody of this name any more'

complete -c frondfs -n '__fish_seen_subcommand_from init mount passwd check' -l passfile -rF -d 'Passphrase from a file'
complete -c frondfs -n '__fish_seen_subcommand_from init mount passwd check' -l extpass -x -d 'Passphrase from a command'
complete -c frondfs -n '__fish_seen_subcommand_from passwd' -l new-passfile -rF -d 'New passphrase from a file'
complete -c frondfs -n '__fish_seen_subcommand_from passwd' -l accept-old -d 'The vault was restored from a backup'
complete -c frondfs -n '__fish_seen_subcommand_from init' -l kdf-mem -x -d 'MiB that one try takes'
complete -c frondfs -n '__fish_seen_subcommand_from init' -l kdf-ops -x -d 'Passes over that memory'
complete -c frondfs -n '__fish_seen_subcommand_from mount' -s f -l foreground -d 'Stay in the foreground'
complete -c frondfs -n '__fish_seen_subcommand_from mount' -s o -x -a '(__frondfs_mount_options)' -d 'Mount options'

# Completion of tgshare(1) for fish.

set -l commands setup card contact send grant release receive agent status \
    revoke log export import split combine help
set -l none "not __fish_seen_subcommand_from $commands"
set -l shares '__fish_seen_subcommand_from send grant'

function __tgshare_mounts
    findmnt -rno TARGET -t fuse.frondfs 2>/dev/null | string unescape
end

function __tgshare_names
    tgshare contact list 2>/dev/null | string replace -r '  .*' ''
end

function __tgshare_name_list
    set -l before (commandline -ct | string replace -r '[^,]*$' '')
    for name in (__tgshare_names)
        echo $before$name
    end
end

function __tgshare_sets
    tgshare status 2>/dev/null | string match -r '^[0-9a-f]{8}'
end

complete -c tgshare -f
complete -c tgshare -n $none -a setup -d 'Make your keys and your card'
complete -c tgshare -n $none -a card -d 'Print the card'
complete -c tgshare -n $none -a contact -d 'People you share with'
complete -c tgshare -n $none -a send -d 'Give a copy'
complete -c tgshare -n $none -a grant -d 'Let somebody read this very file'
complete -c tgshare -n $none -a release -d 'Pass on a share that you keep'
complete -c tgshare -n $none -a receive -d 'Collect what came'
complete -c tgshare -n $none -a agent -d 'Collect what comes, for ever'
complete -c tgshare -n $none -a status -d 'Who has what, what is missing'
complete -c tgshare -n $none -a revoke -d 'Take it back'
complete -c tgshare -n $none -a log -d 'What happened'
complete -c tgshare -n $none -a export -d 'Into a file'
complete -c tgshare -n $none -a import -d 'From a file'
complete -c tgshare -n $none -a split -d 'The key of a file as words'
complete -c tgshare -n $none -a combine -d 'Words to a key'
complete -c tgshare -n $none -a help -d 'Tell about a command'
complete -c tgshare -n $none -l version -d 'Show the version'
complete -c tgshare -l help -d 'Show help'
complete -c tgshare -n "not $none" -l vault -x -a '(__tgshare_mounts)' -d 'Which vault'

complete -c tgshare -n '__fish_seen_subcommand_from help' -a "$commands"
complete -c tgshare -n '__fish_seen_subcommand_from contact' -a 'add list show verify chat remove (__tgshare_names)'
complete -c tgshare -n '__fish_seen_subcommand_from contact' -l fingerprint -x -d 'What they read out'
complete -c tgshare -n '__fish_seen_subcommand_from send grant revoke export import split combine' -F
complete -c tgshare -n '__fish_seen_subcommand_from setup' -l name -x -d 'What your card says'
complete -c tgshare -n '__fish_seen_subcommand_from setup' -l transport -x -a 'dir: telegram' -d 'How messages travel'
complete -c tgshare -n '__fish_seen_subcommand_from card split' -l qr -d 'Draw it'
complete -c tgshare -n '__fish_seen_subcommand_from send grant export' -l to -x -a '(__tgshare_name_list)' -d 'Who gets it'
complete -c tgshare -n "$shares; or __fish_seen_subcommand_from split" -l shares -x -a '(seq 16)' -d 'Into how many'
complete -c tgshare -n "$shares; or __fish_seen_subcommand_from split" -l threshold -x -a '(seq 16)' -d 'How many open it'
complete -c tgshare -n $shares -l via -x -a '(__tgshare_name_list)' -d 'Who gets the shares'
complete -c tgshare -n $shares -l expires -x -d '7d, or a date'
complete -c tgshare -n '__fish_seen_subcommand_from send' -l no-content -d 'The key only'
complete -c tgshare -n '__fish_seen_subcommand_from send' -l note -x -d 'Words for the recipient'
complete -c tgshare -n '__fish_seen_subcommand_from release' -a '(__tgshare_sets)'
complete -c tgshare -n '__fish_seen_subcommand_from release' -l all -d 'All that you keep'
complete -c tgshare -n '__fish_seen_subcommand_from receive' -l wait -x -d 'Seconds to wait'
complete -c tgshare -n '__fish_seen_subcommand_from status log' -l json -d 'As JSON'
complete -c tgshare -n '__fish_seen_subcommand_from status' -l all -d 'What ended earlier, too'
complete -c tgshare -n '__fish_seen_subcommand_from log' -l verify -d 'Check it'
complete -c tgshare -n '__fish_seen_subcommand_from revoke' -l from -x -a '(__tgshare_names)' -d 'Only from'
complete -c tgshare -n '__fish_seen_subcommand_from export combine' -s o -rF -d 'Into which file'
complete -c tgshare -n '__fish_seen_subcommand_from setup' -l new-keys -d 'When the old ones are lost'
complete -c tgshare -n '__fish_seen_subcommand_from setup' -l bot-token-file -rF -d 'From @BotFather'
complete -c tgshare -n '__fish_seen_subcommand_from setup' -l api-base -x -d 'Another Bot API server'
complete -c tgshare -n '__fish_seen_subcommand_from setup' -l part-size -x -d 'MiB of a document'
complete -c tgshare -n '__fish_seen_subcommand_from contact' -l link -d 'A link to press Start'

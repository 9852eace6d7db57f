FR=/dev/shm/b/tools/frondfs/frondfs; P=/dev/shm/w/F; B=/dev/shm/t/ff; rm -rf $B; mkdir -p $B/m; export XDG_STATE_HOME=$B/state; mkdir -p $B/state
timeout 20 $FR init --passfile $P --kdf-mem 8 --kdf-ops 1 $B/v >/dev/null
timeout 20 $FR mount --passfile $P $B/v $B/m; echo a>$B/m/a; timeout 20 $FR umount $B/m; sleep .3; J=$(ls $B/state/frondfs/*.files-journal); rm $J; mkfifo $J
timeout 5 $FR mount --passfile $P $B/v $B/m; echo "mount rc $?"; timeout 5 $FR check --passfile $P $B/v; echo "check rc $?"; mountpoint -q $B/m && umount $B/m

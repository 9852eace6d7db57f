FR=/dev/shm/b/tools/frondfs/frondfs; P=/dev/shm/w/F; B=/dev/shm/t/clk; rm -rf $B; mkdir -p $B/m; export XDG_STATE_HOME=$B/state; mkdir -p $B/state
timeout 20 $FR init --passfile $P --kdf-mem 8 --kdf-ops 1 $B/v >/dev/null
LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1 FAKETIME=+3d FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1 timeout 20 $FR mount --passfile $P $B/v $B/m
echo a > $B/m/x; ln -s t $B/m/l; rm $B/m/x $B/m/l; mkdir $B/m/d; mv $B/m/d $B/m/d2; timeout 20 $FR umount $B/m; sleep .5
(timeout 60 $FR mount -f --passfile $P $B/v $B/m 2>$B/log &) ; sleep 1
echo new > $B/m/x; echo "create rc $?"; cat $B/m/x; echo "cat rc $?"; ln -s t $B/m/l; readlink $B/m/l; echo "readlink rc $?"; sleep 1.2; cat $B/m/x; echo "cat later rc $?"; readlink $B/m/l; echo "rc $?"; 
sleep 1; for i in 1 2 3; do rm -f $B/m/x; echo again > $B/m/x; cat $B/m/x; echo "again rc $?"; done
cat $B/log; timeout 20 $FR umount $B/m; sleep .5
echo -- next mount; timeout 20 $FR mount --passfile $P $B/v $B/m; cat $B/m/x; echo rc $?;  timeout 20 $FR umount $B/m

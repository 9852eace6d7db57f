export XDG_STATE_HOME=/dev/shm/w/state
FR=/dev/shm/b/tools/frondfs/frondfs
P=/dev/shm/w/F
export RENICE=5

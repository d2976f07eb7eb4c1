#!/bin/sh
# Ends the connections to a disk, so that no request of an old one is carried out after those of a new one.
#
#   fence.sh serve RECORDS LINK   run by nbd-server for a new connection, before it opens the disk
#   fence.sh end RECORDS DISK     ends all of them
#
# RECORDS has one file per disk, named by what the link leads to, with the processes that were allowed to open it. To look
# through /proc for them instead takes seconds on a server of many nodes. Fails when a process does not end: the client
# asks again.
set -u
mode=$1 records=$2 disk=$3

export=${disk%/*}
if [ "$mode" = serve ] && [ "${export##*/}" = root ]; then
    # The root is shared, and read-only: only what is left of this client's earlier connection ends.
    key=root-${disk##*/}
else
    key=$(stat -L -c %d-%i "$disk") || exit 1
fi
# The disk that tells nodes to restart (daemon/exports.ts): nobody writes to it, and many have it at once.
target=$(readlink "$disk")
[ "${target##*/}" = reboot.img ] && exit 0
exec 9>>"$records/$key"
flock -w 4 9 || exit 1

# look PID: its state, parent, number of threads and time of start, as in proc(5).
look() {
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
    set -- ${line##*) }
    state=$1 parent=$2 threads=${18} since=${20}
}

# A number may belong to another process by now. A killed one that nobody waits for is gone when its last thread is.
lives() {
    look "$1" && [ "$since" = "$2" ] && ! { [ "$state" = Z ] && [ "$threads" -le 1 ]; }
}

others() {
    while read -r pid started; do
        lives "$pid" "$started" && return 0
    done <"$records/$key"
    return 1
}

while read -r pid started; do
    lives "$pid" "$started" && kill -9 "$pid"
done <"$records/$key"
tries=0
while others; do
    tries=$((tries + 1))
    [ "$tries" -lt 150 ] || exit 1
    sleep 0.02
done

if [ "$mode" = end ]; then
    : >"$records/$key"
    exit 0
fi
server=$PPID
while look "$server" && [ "${line#*(nbd-server)}" = "$line" ]; do
    server=$parent
done
echo "$server $since" >"$records/$key"

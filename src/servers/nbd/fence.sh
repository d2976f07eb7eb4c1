#!/bin/sh
# Who may have a disk open: no request of an old connection is carried out after those of a new one, and none at all while
# the disk is held.
#
#   fence.sh serve RECORDS LINK   run by nbd-server for a new connection, before it opens the disk: the earlier ones end;
#                                 but a client that is not its machine's root is refused, and ends none
#   fence.sh end RECORDS DISK     all connections to the disk end
#   fence.sh hold RECORDS DISK    nobody writes to the disk from the line "held" until stdin closes: the connections there
#                                 are stand still, new ones have to ask again
#   fence.sh resume RECORDS       all that stand still go on, but for disks that somebody holds; "busy" if there were any
#
# RECORDS has one file per disk, named by what the link leads to, with the processes that were allowed to open it. To look
# through /proc for them instead takes seconds on a server of many nodes. While there is a file RECORDS/full the store has
# no space: nobody begins to write, and who stands still stays so. Fails when a process does not end or stop, or somebody
# holds the disk, or the client's port is not one of root's: the client asks again.
set -u
mode=$1 records=$2 disk=${3-}

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

tell() {
    while read -r pid started; do
        lives "$pid" "$started" && kill "$1" "$pid"
    done <"$records/$key"
}

# A signal does not cut into a write to a file that is under way.
moving() {
    while read -r pid started; do
        lives "$pid" "$started" || continue
        for task in /proc/"$pid"/task/*; do
            look "${task#/proc/}" || continue
            case $state in [TtZX]) ;; *) return 0 ;; esac
        done
    done <"$records/$key"
    return 1
}

# until_not WHAT TRIES
until_not() {
    tries=0
    while "$1"; do
        tries=$((tries + 1))
        [ "$tries" -lt "$2" ] || return 1
        sleep 0.02
    done
}

# Everybody on a node has the node's address, but only root a port below 1024. The client's socket is open here as well, for
# nbd-server keeps it open for its children. To find it in /proc/net/tcp takes twice as long, and longer on large machines.
of_root() {
    perl -e '
        opendir my $directory, "/proc/self/fd" or exit 1;
        my $clients = 0;
        for my $fd (readdir $directory) {
            $fd =~ /^\d+$/ && open my $socket, "<&=", $fd or next;
            my ($family, $port) = unpack "Sn", getpeername($socket) || next;
            $family == 2 || $family == 10 or next;
            $port < 1024 or exit 1;
            $clients++;
        }
        exit !$clients'
}

if [ "$mode" = resume ]; then
    for record in "$records"/[0-9]*; do
        key=${record##*/}
        [ -e "$record" ] && others || continue
        exec 9>>"$record"
        if flock -n 9; then
            tell -CONT
        else
            # Whoever has it may have looked for `full` already, so that it would let nobody go on.
            echo busy
        fi
        exec 9>&-
    done
    exit 0
fi

if [ "$mode" = serve ]; then
    of_root || exit 1
fi

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

if [ "$mode" = hold ]; then
    # Longer than any of the others keeps it.
    flock -w 10 9 || { echo 'somebody else has the disk' >&2; exit 1; }
    trap '[ -e "$records/full" ] || tell -CONT' EXIT
    trap 'exit 1' HUP INT TERM PIPE
    tell -STOP
    until_not moving 500 || { echo 'nbd-server does not stop' >&2; exit 1; }
    echo held
    # It closes even when whoever wanted this is killed.
    cat >/dev/null
    exit 0
fi

flock -w 3 9 || exit 1
if [ "$mode" = serve ] && [ "${key#root-}" = "$key" ] && [ -e "$records/full" ]; then
    exit 1
fi
tell -9
until_not others 150 || exit 1

if [ "$mode" = end ]; then
    : >"$records/$key"
    exit 0
fi
server=$PPID
while look "$server" && [ "${line#*(nbd-server)}" = "$line" ]; do
    server=$parent
done
echo "$server $since" >"$records/$key"

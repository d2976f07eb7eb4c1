#!/bin/sh
# DHCP, TFTP and NFS of one server, inside a Debian tree of its own. Ends as a whole with its process name space.
# usage: serve-nfs.sh SERVER-TREE EXPORTED TFTP CONFIGURATION
# CONFIGURATION is a folder with ganesha.conf and dnsmasq.conf; EXPORTED is /srv/export there.
set -eu
tree=$1
mkdir -p "$tree/srv/export" "$tree/srv/tftp"
mount -t proc proc "$tree/proc"
mount --rbind /dev "$tree/dev"
mount --bind "$2" "$tree/srv/export"
mount --bind "$3" "$tree/srv/tftp"
mount --bind "$4" "$tree/mnt"
for writable in run tmp var/lib/nfs var/lib/misc; do
    mkdir -p "$tree/$writable"
    mount -t tmpfs -o mode=0755 tmpfs "$tree/$writable"
done
mkdir -p "$tree/run/rpcbind" "$tree/var/lib/nfs/ganesha"
chmod 777 "$tree/run/rpcbind"
ln -sf /proc/mounts "$tree/etc/mtab"
chroot "$tree" rpcbind -f -w &
while [ ! -S "$tree/run/rpcbind.sock" ]; do sleep 0.1; done
chroot "$tree" dnsmasq --conf-file=/mnt/dnsmasq.conf --keep-in-foreground --user=root --pid-file= &
exec chroot "$tree" ganesha.nfsd -F -f /mnt/ganesha.conf -L STDERR -N EVENT -p /run/ganesha.pid

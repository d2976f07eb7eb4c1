#!/bin/sh
# mmdebstrap hook. usage: prepare-tree.sh essential|customize TREE
set -eu
here=${0%/*}
tree=$2
case $1 in
    # Before the kernel is installed, so that its initramfs has the script.
    essential)
        scripts=$tree/etc/initramfs-tools/scripts/nfs-bottom
        mkdir -p "$scripts"
        install -m 755 "$here/nfs-bottom-overlay" "$scripts/bench-overlay"
        ;;
    customize)
        install -m 644 "$here/bench-ready.service" "$tree/etc/systemd/system/"
        # LTSP switches its own service on and these NFS services off; the others need none of them.
        chroot "$tree" systemctl -q disable ltsp.service rpcbind.service rpcbind.socket nfs-client.target nfs-blkmap.service
        chroot "$tree" systemctl -q enable bench-ready.service
        : >"$tree/etc/machine-id"
        : >"$tree/etc/fstab"
        rm -f "$tree/etc/hostname" "$tree/etc/resolv.conf"
        ;;
esac

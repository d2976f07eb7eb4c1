#!/bin/sh
# What an LTSP server has in /srv/ltsp and /srv/tftp, made by the package's own commands in the tree of a server.
# usage: make-ltsp.sh SERVER-TREE CLIENT-TREE OUT. Runs in a mount name space of its own.
set -eu
here=${0%/*}
server=$1
client=$2
out=$3
mkdir -p "$out/srv/images" "$out/tftp/ltsp" "$server/srv/ltsp" "$server/srv/tftp" "$server/etc/ltsp"
mount -t proc proc "$server/proc"
mount --bind "$out/srv" "$server/srv/ltsp"
mount --bind "$out/tftp" "$server/srv/tftp"
mount --bind "$client" "$server/mnt"
install -m 660 "$here/ltsp.conf" "$server/etc/ltsp/ltsp.conf"
ltsp() {
    chroot "$server" ltsp "$@"
}
# `ltsp image` begins with an overlay over its source and takes it down by itself, which not every machine that builds
# can do. These are its steps: mksquashfs with its list of what to leave out, then `ltsp kernel`. The host keys stay in,
# which the setting OMIT_IMAGE_EXCLUDES is for: without them SSH would not start.
grep -v -e '^#' -e '^etc/ssh/ssh_host_' "$server/usr/share/ltsp/server/image/image.excludes" >"$out/excludes"
cp "$out/excludes" "$server/etc/ltsp/image.excludes"
chroot "$server" mksquashfs /mnt /srv/ltsp/images/x86_64.img -noappend -wildcards -no-progress -ef /etc/ltsp/image.excludes
mkdir -p "$out/tftp/ltsp/x86_64"
cp -L "$client/boot/"vmlinuz-* "$out/tftp/ltsp/x86_64/vmlinuz"
cp -L "$client/boot/"initrd.img-* "$out/tftp/ltsp/x86_64/initrd.img"
ltsp ipxe --binaries=0
ltsp initrd
cp "$server/usr/share/ltsp/server/dnsmasq/ltsp-dnsmasq.conf" "$out/ltsp-dnsmasq.conf"
chmod -R a+rX "$out/tftp" "$out/srv"

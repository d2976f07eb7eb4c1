#!/bin/sh
# mmdebstrap customize hook: downloads the packages that are unpacked by the build instead of being installed.
# usage: fetch-boot-packages.sh ARCH DIRECTORY
set -eu
arch=$1
cd "$2"
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
# linux-image-ARCH is an empty package; the kernel is the one that it depends on.
kernel=$(apt-cache depends "linux-image-$arch" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
set -- "$kernel"
[ "$arch" != arm64 ] || set -- "$@" raspi-firmware
apt-get -o APT::Sandbox::User=root download "$@"

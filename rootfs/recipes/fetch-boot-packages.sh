#!/bin/sh
# mmdebstrap customize hook: downloads the packages that are unpacked by the build instead of being installed.
# usage: fetch-boot-packages.sh DIRECTORY KERNEL|none [PACKAGE...]
set -eu
cd "$1"
kernel=$2
shift 2
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
if [ "$kernel" != none ]; then
    # linux-image-ARCH is an empty package; the kernel is the one that it depends on.
    real=$(apt-cache depends "$kernel" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    set -- "${real:-$kernel}" "$@"
fi
[ "$#" -eq 0 ] || apt-get -o APT::Sandbox::User=root download "$@"

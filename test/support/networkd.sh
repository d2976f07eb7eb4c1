#!/bin/sh
# systemd-networkd without an init system: /run of its own, so it meets neither the machine's settings nor its bus; /sys
# read-only, which tells it not to wait for udev. Runs in a mount name space of its own.
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/network /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
cat >/run/systemd/network/10-board.network <<'NETWORK'
[Match]
Name=eth0
[Network]
DHCP=ipv4
IPv6AcceptRA=no
LinkLocalAddressing=no
[DHCPv4]
ClientIdentifier=mac
UseDNS=no
UseHostname=no
NETWORK
chown -R systemd-network: /run/systemd/netif
mount -o remount,ro,bind /sys
SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console
export SYSTEMD_LOG_LEVEL SYSTEMD_LOG_TARGET
exec /lib/systemd/systemd-networkd

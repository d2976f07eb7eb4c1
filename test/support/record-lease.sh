#!/bin/sh
# What dhclient, dhcpcd and udhcpc run at every change of a lease. udhcpc names the change in its first argument, the
# others in $reason. The address is set as their own scripts would, because a renewal is sent from it.
what=${reason:-$1}
case "$what" in
  bound | renew | BOUND | RENEW | REBIND | REBOOT)
    address=${ip:-$new_ip_address}
    ip address replace "$address/24" dev eth0
    echo "$what $address ${subnet:-$new_subnet_mask} ${router:-$new_routers} ${serverid:-$new_dhcp_server_identifier}" >>"$RECORD"
    ;;
esac

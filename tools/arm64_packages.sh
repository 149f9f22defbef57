#!/bin/sh
# Debian packages for building and emulating the ARM64 runner, and for talking to a device. Needs root.
set -eu
wanted="g++-aarch64-linux-gnu qemu-user adb"
[ "${1:-}" != device ] || wanted="$wanted qemu-user-static iproute2"
missing=""
for package in $wanted; do
    dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
[ "$(id -u)" = 0 ] || { echo "run as root: apt-get install$missing" >&2; exit 1; }
apt-get update -q
# shellcheck disable=SC2086  # several words
DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing

#!/bin/sh
# Finds a program, or installs it with the system's package manager:
#
#	need.sh redis-server "Redis 7" apt-get:redis-server dnf:redis apk:redis brew:redis
#
# Packages are tried in their order until the program is there.
set -eu

program=$1 what=$2
shift 2

as_root=""
if [ "$(id -u)" -ne 0 ] && command -v sudo >/dev/null 2>&1; then
	as_root="sudo"
fi

for package in "$@"; do
	if command -v "$program" >/dev/null 2>&1; then
		break
	fi
	manager=${package%%:*}
	names=${package#*:} # split on purpose, below
	command -v "$manager" >/dev/null 2>&1 || continue
	case $manager in
	apt-get) $as_root apt-get update -qq && DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq $names ;;
	dnf) $as_root dnf install -y -q $names ;;
	apk) $as_root apk add -q $names ;;
	brew) brew install -q $names ;;
	esac || true
done

if ! command -v "$program" >/dev/null 2>&1; then
	echo "The tests need $program, and it could not be installed here: install $what and put $program into PATH." >&2
	exit 1
fi
"$program" --version | head -n 1

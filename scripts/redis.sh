#!/bin/sh
# Finds redis-server, or installs it with the system's package manager.
set -eu

if command -v redis-server >/dev/null 2>&1; then
	redis-server --version
	exit 0
fi

as_root=""
if [ "$(id -u)" -ne 0 ] && command -v sudo >/dev/null 2>&1; then
	as_root="sudo"
fi

if command -v apt-get >/dev/null 2>&1; then
	$as_root apt-get update -qq && DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq redis-server || true
elif command -v dnf >/dev/null 2>&1; then
	$as_root dnf install -y -q redis || $as_root dnf install -y -q valkey-compat-redis || true
elif command -v apk >/dev/null 2>&1; then
	$as_root apk add -q redis || true
elif command -v brew >/dev/null 2>&1; then
	brew install -q redis || true
fi

if ! command -v redis-server >/dev/null 2>&1; then
	echo "The tests need a real redis-server, and it could not be installed here: install Redis 7 and put redis-server into PATH." >&2
	exit 1
fi
redis-server --version

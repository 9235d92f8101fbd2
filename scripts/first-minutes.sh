#!/bin/sh
# Does what the README says, in an empty directory, and times each step:
#
#	first-minutes.sh            # against this checkout
#
# It needs Go, curl and redis-server.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
dir=$(mktemp -d)
redis="" program=""
end() {
	[ -z "$program" ] || kill "$program" 2>/dev/null || true
	[ -z "$redis" ] || kill "$redis" 2>/dev/null || true
	wait
	rm -rf "$dir"
}
trap end EXIT
cd "$dir"

began=$(date +%s%N)
step() { # says how long the step before took
	now=$(date +%s%N)
	printf '%6d.%d s  %s\n' $(((now - began) / 1000000000)) $(((now - began) / 100000000 % 10)) "$1"
	began=$now
}
# block prints the README's first block of a language that begins with a text.
block() {
	awk -v language="\`\`\`$1" -v begins="$2" '
		$0 == language { first = 1; next }
		first && index($0, begins) == 1 { on = 1 }
		{ first = 0 }
		/^```$/ { if (on) exit }
		on { print }' "$root/README.md"
}

port=$((10000 + $$ * 2 % 20000)) # below those that systems give out
here() { sed -e "s/127.0.0.1:6379/127.0.0.1:$port/" -e "s/\":8000\"/\"127.0.0.1:$((port + 1))\"/" -e "s/127.0.0.1:8000/127.0.0.1:$((port + 1))/"; }

echo "$(go version), in $dir"
redis-server --port "$port" --bind 127.0.0.1 --save '' --dir "$dir" >/dev/null &
redis=$!
step "redis-server"
block go "package main" >main.go
block yaml "server:" | here >config.yaml
step "main.go ($(wc -l <main.go) lines) and config.yaml, copied from the README"
go mod init shop >/dev/null 2>&1
# What go get does once there is a version; until then the module is this checkout.
go mod edit -require=github.com/gf-strata/strata@v0.0.0 -replace=github.com/gf-strata/strata="$root"
go mod tidy >tidy.log 2>&1 || { cat tidy.log; exit 1; }
step "go get ($(grep -c . go.sum) lines of go.sum)"
go build -o shop .
step "go build"
./shop >shop.log 2>&1 &
program=$!
tries=0
until curl -s -o /dev/null "http://127.0.0.1:$((port + 1))/me"; do
	tries=$((tries + 1))
	[ "$tries" -lt 300 ] || { cat shop.log; exit 1; }
	sleep 0.1
done
step "the program serves"
block sh '$ curl' | here | while read -r line; do
	case $line in
	'$ '*) got=$(sh -c "${line#??}") ;;
	*)
		[ "$got" = "$line" ] || { echo "the README says \"$line\", and it is \"$got\""; exit 1; }
		echo "          $got"
		;;
	esac
done
step "log in, read, log out, read"
sleep 1.5 # the chain has looked at itself by then
if grep 'strata:' shop.log; then
	echo "the log has lines of ours"
	exit 1
fi
step "and the log has no line of ours"

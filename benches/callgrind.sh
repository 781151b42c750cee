#!/bin/sh
# Instructions of both ends together, by callgrind: for a 1,500-byte segment, with everything and without
# checksums and the program's copies; for a connection (connect, 64 bytes each way, both close); for a round
# trip of one byte, and how many of its instructions are not in the first cache. A noisy machine does not move these.
#
# With --check it fails where Sockeye needs more than the limits below: what was reached, and a tenth. Another compiler
# or C library may move them by as much; a change of ours that does has to say why.
set -eu
check=${1:-}
cd "$(dirname "$0")/.."
command -v valgrind >/dev/null || { echo "callgrind.sh: valgrind is not installed" >&2; exit 1; }
cargo build --quiet --release -p sockeye-bench --bin count
count=${CARGO_TARGET_DIR:-target}/release/count

# instructions STACK WORK UNITS
instructions() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$count" "$@" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

# misses STACK WORK UNITS: of the instruction cache that most machines have, 32 KiB in eight ways
misses() {
    valgrind --tool=cachegrind --cache-sim=yes --I1=32768,8,64 --D1=32768,8,64 --cachegrind-out-file=/dev/null \
        "$count" "$@" 2>&1 | sed -n 's/.*I1  misses: *//p' | tr -d ,
}

# each MEASURE STACK WORK FEW MANY: instructions or misses of one unit
each() {
    few=$("$1" "$2" "$3" "$4")
    many=$("$1" "$2" "$3" "$5")
    echo $(((many - few) / ($5 - $4)))
}

[ "$check" = --check ] || printf '%-42s %9s %9s\n' "instructions, both ends" sockeye smoltcp
failed=0
# line LABEL MEASURE WORK FEW MANY LIMIT
line() {
    ours=$(each "$2" sockeye "$3" "$4" "$5")
    if [ "$check" = --check ]; then
        printf '%-42s %9s   at most %s\n' "$1" "$ours" "$6"
        [ "$ours" -le "$6" ] || failed=1
    else
        printf '%-42s %9s %9s\n' "$1" "$ours" "$(each "$2" smoltcp "$3" "$4" "$5")"
    fi
}
line "a 1,500-byte segment" instructions bulk 1000 6000 4500
line "the same, no copy, no checksum" instructions plain 1000 6000 1950
line "a connection" instructions crr 100 600 61000
line "a round trip" instructions rr 1000 6000 7100
# Where chance puts the functions has a part in this: hence the room.
line "the same, instruction-cache misses" misses rr 2000 8000 120
[ "$failed" = 0 ] || { echo "callgrind.sh: more than the limit" >&2; exit 1; }

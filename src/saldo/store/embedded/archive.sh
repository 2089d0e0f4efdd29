#!/bin/sh
# archive.sh SEGMENT TARGET: keeps a finished segment of PostgreSQL's log (WAL) as TARGET.gz.
# There is all of it under that name or nothing, and nothing that is there is ever overwritten.
set -eu
segment=$1
target=$2.gz
if [ -e "$target" ]; then
    # PostgreSQL repeats what it had not noted before a crash. Another content is another server's.
    gunzip -c "$target" | cmp -s - "$segment" && exit
    echo "archive.sh: $target is there, with another content" >&2
    exit 1
fi
unfinished=$target.unfinished.$$
trap 'rm -f "$unfinished"' EXIT
gzip -1 -n -c "$segment" >"$unfinished"
# PostgreSQL recycles the segment when this succeeds: by then it must be on the disk.
sync "$unfinished"
# Unlike a rename, a link fails if the name is taken.
ln "$unfinished" "$target"
sync "$(dirname "$target")"

#!/bin/sh
# archive.sh SEGMENT TARGET: archives a finished WAL segment of PostgreSQL as TARGET.gz.
# A file with this name is always complete, and is never overwritten.
set -eu
segment=$1
target=$2.gz
if [ -e "$target" ]; then
    # After a crash PostgreSQL may archive a segment again. Different content comes from another server.
    gunzip -c "$target" | cmp -s - "$segment" && exit
    echo "archive.sh: $target is there, with another content" >&2
    exit 1
fi
unfinished=$target.unfinished.$$
trap 'rm -f "$unfinished"' EXIT
gzip -1 -n -c "$segment" >"$unfinished"
# PostgreSQL recycles the segment after this script succeeds, so the copy must be on the disk by then.
sync "$unfinished"
# Unlike a rename, a link fails if the name exists.
ln "$unfinished" "$target"
sync "$(dirname "$target")"

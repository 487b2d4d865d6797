#!/bin/sh
# Puts everything that is installed into a directory, as it is to stand below `/`:
#
#   stage.sh FAMILY BINARY DIRECTORY      FAMILY is `deb`, `rpm` or `all`
#
# What the program makes of itself, manual pages and completions, is made by BINARY.
set -eu
umask 022

family=$1 binary=$2 stage=$3
root=$(cd "$(dirname "$0")/.." && pwd)
generated=$(mktemp -d)
trap 'rm -rf "$generated"' EXIT

"$binary" man --out "$generated/man1"
for shell in bash fish zsh; do
    "$binary" completions "$shell" >"$generated/completions.$shell"
done

grep -v '^#' "$root/scripts/installed-files" | while read -r where mode file place; do
    case $where in all | "$family") ;; *) continue ;; esac
    case $file in
    exitpool) from=$binary ;;
    generated/*) from=$generated/${file#generated/} ;;
    *) from=$root/$file ;;
    esac
    case $place in
    */) mkdir -p "$stage$place" ;;
    *) mkdir -p "$(dirname "$stage$place")" ;;
    esac
    # A pattern names several files, or none.
    for each in $from; do
        [ -e "$each" ] || [ "${file#*\*}" = "$file" ] || continue
        install -m "$mode" "$each" "$stage$place"
    done
done

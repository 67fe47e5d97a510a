# Loads acme.sh as a library and one of its DNS scripts, and makes one call; $0 and $1 are their paths.
exec 1>&2
umask 077
script=$1 call=$2 name=$3 value=$4
# acme.sh ends with `main "$@"`; that is nothing then.
set -- :
. "$0" || exit 1
_initpath >/dev/null || exit 1
. "$script" || exit 1
"$call" "$name" "$value"

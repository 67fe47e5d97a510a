#!/bin/sh
# PowerDNS 4, with `dnsupdate=yes` and `allow-dnsupdate-from=` in pdns.conf. PowerDNS cannot restrict a key to a name; give
# the challenge names a zone of their own (`_acme-challenge.example.com`) where that matters.
set -eu
secret=${1:?usage: powerdns.sh SECRET}
pdnsutil import-tsig-key acme-key hmac-sha256 "$secret"
pdnsutil set-meta example.com TSIG-ALLOW-DNSUPDATE acme-key

"""Uses the fake of Cloudflare's API with clients that nobody here wrote: Cloudflare's own SDK, and certbot's plugin.

    check_cloudflare.py BASE_URL GOOD_TOKEN READ_ONLY_TOKEN EXPIRED_TOKEN HASTY_TOKEN EMAIL GLOBAL_KEY

The account has the zones example.test and other.test, both empty. HASTY_TOKEN may make 5 requests a second.
Whatever does not go as with the real API is an exception, and so a status other than 0.
"""

import os
import sys

base, good, read_only, expired, hasty, email, key = sys.argv[1:]
# What certbot's plugin goes by; it has no setting for it.
os.environ["CLOUDFLARE_BASE_URL"] = base

import cloudflare
from certbot import errors
from certbot_dns_cloudflare._internal.dns_cloudflare import _CloudflareClient
from cloudflare import Cloudflare


def refused(kind, code, call):
    """The call must fail with this exception and this code of the vendor's."""
    try:
        call()
    except kind as error:
        codes = [fault.code for fault in error.errors]
        assert code in codes, (code, codes, error)
        return error
    raise AssertionError(f"{code} was not raised")


client = Cloudflare(api_token=good, base_url=base, max_retries=0)

# Zones: pages are followed, filters filter, every field that the SDK wants is there.
zones = list(client.zones.list(per_page=1))
assert [zone.name for zone in zones] == ["example.test", "other.test"], zones
assert zones[0].status == "active" and zones[0].plan.legacy_id == "free"
assert zones[0].created_on.year == 2026 and zones[0].account.id
zone = zones[0].id
assert client.zones.get(zone_id=zone).name == "example.test"
assert list(client.zones.list(name="nowhere.test")) == []
assert client.user.tokens.verify().status == "active"

# Records: made, listed, changed, removed.
records = client.dns.records
owner = "_acme-challenge.example.test"
txt = {"zone_id": zone, "type": "TXT", "name": owner, "ttl": 120}
first = records.create(content='"one"', comment="made by a check", **txt)
assert (first.content, first.ttl, first.comment) == ('"one"', 120, "made by a check")
bare = records.create(content="two", **txt)
assert bare.content == "two"
short = records.create(zone_id=zone, type="TXT", name="short", content='"3"', ttl=1)
assert short.name == "short.example.test", short.name
found = list(records.list(zone_id=zone, type="TXT", name={"exact": owner.upper()}, per_page=1))
assert {record.id for record in found} == {first.id, bare.id}, found
assert [r.id for r in records.list(zone_id=zone, content={"exact": '"one"'})] == [first.id]
assert [r.id for r in records.list(zone_id=zone, comment={"contains": "CHECK"})] == [first.id]
assert [r.id for r in records.list(zone_id=zone, name={"startswith": "short"})] == [short.id]
edited = records.edit(dns_record_id=first.id, zone_id=zone, type="TXT", name=owner, ttl=60)
assert (edited.content, edited.ttl) == ('"one"', 60)
updated = records.update(dns_record_id=first.id, content='"uno"', **txt)
assert updated.content == '"uno"' and updated.id == first.id
assert records.get(dns_record_id=first.id, zone_id=zone).content == '"uno"'

# Refusals, by the vendor's codes.
refused(cloudflare.BadRequestError, 81058, lambda: records.create(content='"uno"', **txt))
refused(cloudflare.BadRequestError, 81058, lambda: records.create(content='"two"', **txt))
refused(cloudflare.BadRequestError, 1004, lambda: records.create(**{**txt, "ttl": 30}, content='"x"'))
refused(cloudflare.BadRequestError, 1004, lambda: records.create(content='"open', **txt))
refused(cloudflare.NotFoundError, 81044, lambda: records.delete(dns_record_id="0" * 32, zone_id=zone))
refused(cloudflare.BadRequestError, 7003, lambda: records.delete(dns_record_id="1", zone_id=zone))
alias = records.create(zone_id=zone, type="CNAME", name="alias.example.test", content="x.test", ttl=1)
refused(
    cloudflare.BadRequestError,
    81054,
    lambda: records.create(**{**txt, "name": "alias.example.test"}, content='"x"'),
)

# Batches: deletes come first, and one bad change undoes all.
done = records.batch(
    zone_id=zone,
    deletes=[{"id": alias.id}, {"id": short.id}],
    patches=[{"id": bare.id, "type": "TXT", "name": owner, "ttl": 300}],
    puts=[{"id": first.id, "type": "TXT", "name": owner, "content": '"eins"', "ttl": 60}],
    posts=[{"type": "TXT", "name": "alias.example.test", "content": '"now a text"', "ttl": 60}],
)
assert [record.id for record in done.deletes] == [alias.id, short.id]
assert done.patches[0].ttl == 300 and done.puts[0].content == '"eins"'
before = {record.id for record in records.list(zone_id=zone)}
refused(
    cloudflare.BadRequestError,
    81058,
    lambda: records.batch(
        zone_id=zone,
        deletes=[{"id": bare.id}],
        posts=[{"type": "TXT", "name": owner, "content": '"eins"', "ttl": 60}],
    ),
)
refused(
    cloudflare.BadRequestError,
    1004,
    lambda: records.batch(
        zone_id=zone,
        posts=[
            {"type": "TXT", "name": f"n{n}.example.test", "content": '"x"', "ttl": 60}
            for n in range(201)
        ],
    ),
)
assert {record.id for record in records.list(zone_id=zone)} == before
assert "SOA" in records.export(zone_id=zone)

# Credentials.
weak = Cloudflare(api_token=read_only, base_url=base, max_retries=0)
assert len(list(weak.dns.records.list(zone_id=zone))) == len(before)
refused(
    cloudflare.PermissionDeniedError,
    10000,
    lambda: weak.dns.records.create(content='"x"', **txt),
)
other = next(z.id for z in zones if z.name == "other.test")
refused(cloudflare.PermissionDeniedError, 10000, lambda: list(weak.dns.records.list(zone_id=other)))
assert [z.name for z in weak.zones.list()] == ["example.test"]
old = Cloudflare(api_token=expired, base_url=base, max_retries=0)
refused(cloudflare.AuthenticationError, 10000, lambda: list(old.zones.list()))
assert old.user.tokens.verify().status == "expired"
unknown = Cloudflare(api_token="0" * 40, base_url=base, max_retries=0)
refused(cloudflare.PermissionDeniedError, 9109, lambda: list(unknown.zones.list()))
refused(cloudflare.AuthenticationError, 1000, unknown.user.tokens.verify)
broken = Cloudflare(api_token="short", base_url=base, max_retries=0)
refused(cloudflare.BadRequestError, 6003, lambda: list(broken.zones.list()))
user = Cloudflare(api_email=email, api_key=key, base_url=base, max_retries=0)
assert len(list(user.zones.list())) == 2
wrong = Cloudflare(api_email=email, api_key="f" * 37, base_url=base, max_retries=0)
refused(cloudflare.PermissionDeniedError, 9103, lambda: list(wrong.zones.list()))

# certbot: adds, adds again, removes, and knows the vendor's codes.
for certbot in [_CloudflareClient(api_token=good), _CloudflareClient(email=email, api_key=key)]:
    owner = "_acme-challenge.deep.down.example.test"
    for value in ["first", "second", "second"]:
        certbot.add_txt_record("deep.down.example.test", owner, value, 120)
    there = [r.content for r in records.list(zone_id=zone, name={"exact": owner})]
    assert sorted(there) == ["first", "second"], there
    certbot.del_txt_record("deep.down.example.test", owner, "first")
    there = [r.content for r in records.list(zone_id=zone, name={"exact": owner})]
    assert there == ["second"], there
    certbot.del_txt_record("deep.down.example.test", owner, "second")
for token, hint in [("short", "Did you copy your entire API token"), ("0" * 40, "valid Cloudflare Token")]:
    try:
        _CloudflareClient(api_token=token).add_txt_record("example.test", owner, "x", 120)
    except errors.PluginError as error:
        assert hint in str(error), error
    else:
        raise AssertionError(f"{token} was taken")

# The quota: a request too many is refused, and the SDK finds in the refusal when to come back.
eager = Cloudflare(api_token=hasty, base_url=base, max_retries=0)
refused(cloudflare.RateLimitError, 971, lambda: [eager.zones.list() for _ in range(6)])
patient = Cloudflare(api_token=hasty, base_url=base, max_retries=3)
for _ in range(12):
    assert len(list(patient.zones.list())) == 2

for record in list(records.list(zone_id=zone)):
    records.delete(dns_record_id=record.id, zone_id=zone)
print(f"cloudflare {cloudflare.__version__}")

"""Uses the fake of the Route 53 API with clients that nobody here wrote: Amazon's own SDK, and certbot's plugin.

    check_route53.py ENDPOINT ACCESS_KEY SECRET

The account has the public zones example.test and deep.example.test, a private zone example.test, and nothing in them; a change
takes a second to reach all name servers. Whatever does not go as with the real API is an exception, and so a status other than 0.
"""

import os
import sys
import time

endpoint, key, secret = sys.argv[1:]
# What certbot's plugin goes by; it has no settings.
os.environ.update(
    AWS_ACCESS_KEY_ID=key,
    AWS_SECRET_ACCESS_KEY=secret,
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    AWS_DEFAULT_REGION="us-east-1",
    AWS_EC2_METADATA_DISABLED="true",
    AWS_ENDPOINT_URL_ROUTE_53=endpoint,
)
for variable in ("AWS_SESSION_TOKEN", "AWS_PROFILE"):
    os.environ.pop(variable, None)

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from certbot_dns_route53._internal.dns_route53 import Authenticator

once = Config(retries={"total_max_attempts": 1})
client = boto3.client("route53", config=once)


def refused(code, call, *words, status=400):
    """The call must fail with this code, this status and these words."""
    try:
        call()
    except ClientError as error:
        answer = error.response
        assert answer["Error"]["Code"] == code, answer
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == status, answer
        for word in words:
            assert word in answer["Error"]["Message"], (word, answer)
        return
    raise AssertionError(f"{code} was not raised")


def rrset(name, *values, ttl=60, kind="TXT", **more):
    records = [{"Value": value} for value in values]
    return {"Name": name, "Type": kind, "TTL": ttl, "ResourceRecords": records, **more}


def change(zone, *changes):
    changes = [{"Action": action, "ResourceRecordSet": them} for action, them in changes]
    return client.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": changes})["ChangeInfo"]


# Zones: pages are followed, by ID and by name; a name is where the list begins, not a filter.
zones = {}
for page in client.get_paginator("list_hosted_zones").paginate(PaginationConfig={"PageSize": 1}):
    assert len(page["HostedZones"]) == 1 and page["MaxItems"] == "1"
    zones.update((each["Id"], each) for each in page["HostedZones"])
assert len(zones) == 3, zones
public = [each for each in zones.values() if not each["Config"]["PrivateZone"]]
[zone] = [each["Id"] for each in public if each["Name"] == "example.test."]
[deep] = [each["Id"] for each in public if each["Name"] == "deep.example.test."]
assert zone.startswith("/hostedzone/Z")
first = client.list_hosted_zones_by_name(DNSName="example.test", MaxItems="1")
assert first["HostedZones"][0]["Name"] == "example.test." and first["IsTruncated"]
assert first["NextDNSName"] == "example.test."
second = client.list_hosted_zones_by_name(
    DNSName=first["NextDNSName"], HostedZoneId=first["NextHostedZoneId"], MaxItems="100"
)
assert [each["Name"] for each in second["HostedZones"]] == ["example.test.", "deep.example.test."]
assert client.list_hosted_zones_by_name(DNSName="zzz.test")["HostedZones"] == []
got = client.get_hosted_zone(Id=zone)
assert got["HostedZone"]["Name"] == "example.test." and got["DelegationSet"]["NameServers"]
refused("NoSuchHostedZone", lambda: client.get_hosted_zone(Id="Z0"), "Z0", status=404)

# Record sets: made, replaced, deleted by their exact values, whatever the order of these.
owner = "_acme-challenge.example.test."
info = change(zone, ("CREATE", rrset(owner, '"one"', '"two"')))
assert info["Status"] == "PENDING" and info["Id"].startswith("/change/C")
assert client.get_change(Id=info["Id"])["ChangeInfo"]["Status"] == "PENDING"
refused("InvalidChangeBatch", lambda: change(zone, ("CREATE", rrset(owner, '"x"'))), owner, "but it already exists")
for wrong in (rrset(owner, '"one"'), rrset(owner, '"one"', '"two"', ttl=61), rrset(owner, '"one"', '"TWO"')):
    refused("InvalidChangeBatch", lambda: change(zone, ("DELETE", wrong)), owner, "do not match the current values")
absent = rrset("absent.example.test.", '"x"')
refused("InvalidChangeBatch", lambda: change(zone, ("DELETE", absent)), "but it was not found")
swap = change(zone, ("DELETE", rrset(owner, '"two"', '"one"')), ("CREATE", rrset(owner, '"one"', '"two"', '"three"')))
assert swap["Id"] != info["Id"]
refused(
    "InvalidChangeBatch",
    lambda: change(zone, ("CREATE", rrset("fine.example.test", '"x"')), ("CREATE", rrset(owner, '"x"'))),
)

# Lists: from a name on, by pages, in the order of reversed labels.
def names(**more):
    pages = client.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone, **more)
    return [(each["Name"], each["Type"]) for page in pages for each in page["ResourceRecordSets"]]


change(zone, *(("UPSERT", rrset(f"{label}.example.test", "192.0.2.1", kind="A")) for label in ("a", "b.a", "z")))
apex = "example.test."
assert names() == names(PaginationConfig={"PageSize": 2}) == [
    (apex, "NS"),
    (apex, "SOA"),
    (owner, "TXT"),
    ("a.example.test.", "A"),
    ("b.a.example.test.", "A"),
    ("z.example.test.", "A"),
]
page = client.list_resource_record_sets(
    HostedZoneId=zone, StartRecordName="a.example.test", StartRecordType="TXT", MaxItems="1"
)
assert page["ResourceRecordSets"][0]["Name"] == "b.a.example.test." and page["IsTruncated"]
assert page["NextRecordName"] == "z.example.test."
[mine] = client.list_resource_record_sets(
    HostedZoneId=zone, StartRecordName=owner, StartRecordType="TXT", MaxItems="1"
)["ResourceRecordSets"]
assert [each["Value"] for each in mine["ResourceRecords"]] == ['"one"', '"two"', '"three"']

# What may not be.
for bad, words in (
    (rrset("elsewhere.test", '"x"'), "is not permitted in zone example.test."),
    (rrset("bare.example.test", "x"), "InvalidCharacterString"),
    (rrset("long.example.test", '"' + "x" * 256 + '"'), "CharacterStringTooLong"),
    (rrset("umlaut.example.test", '"ü"'), "UnsupportedCharacter"),
    (rrset("twice.example.test", '"x"', '"x"'), "Duplicate Resource Record"),
    (rrset(owner, "a.test", kind="CNAME"), "conflicting RRSet of type TXT"),
    (rrset(owner, '"x"', SetIdentifier="x", MultiValueAnswer=True), "cannot be created"),
):
    refused("InvalidChangeBatch", lambda: change(zone, ("CREATE", bad)), words)
both = (("CREATE", rrset("b.example.test", '"x"')), ("UPSERT", rrset("b.example.test", '"y"')))
refused("InvalidChangeBatch", lambda: change(zone, *both), "invalid set of changes")
many = [rrset(f"m{number}.example.test", *(f'"{value}"' for value in range(100))) for number in range(11)]
refused("InvalidChangeBatch", lambda: change(zone, *(("CREATE", each) for each in many)), "1000")
refused("InvalidChangeBatch", lambda: change(zone, *(("UPSERT", each) for each in many[:6])), "1000")
text = '"' + "x" * 250 + '"'
large = [rrset(f"l{number}.example.test", " ".join([text] * 12)) for number in range(11)]
refused("InvalidChangeBatch", lambda: change(zone, *(("CREATE", each) for each in large)), "32000")
refused("NoSuchHostedZone", lambda: change("Z0", ("CREATE", absent)), status=404)
refused("NoSuchChange", lambda: client.get_change(Id="C0"), status=404)

# Characters come back as they went, and unusual names as octal escapes.
odd = '"a \\"b\\" \\344 <&> \\134" "second"'
change(zone, ("CREATE", rrset("*.example.test", odd)))
[star] = [
    each
    for each in client.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    if each["Name"].startswith("\\052")
]
assert star["ResourceRecords"][0]["Value"] == odd, star
change(zone, ("DELETE", star))

# A change is in sync when its time has come.
deadline = time.monotonic() + 30
while client.get_change(Id=swap["Id"])["ChangeInfo"]["Status"] != "INSYNC":
    assert time.monotonic() < deadline
    time.sleep(0.2)

# Who may not.
wrong = boto3.client("route53", aws_access_key_id=key, aws_secret_access_key="wrong", config=once)
refused("SignatureDoesNotMatch", wrong.list_hosted_zones, status=403)
unknown = boto3.client("route53", aws_access_key_id="AKIAUNKNOWN", aws_secret_access_key=secret, config=once)
refused("InvalidClientTokenId", unknown.list_hosted_zones, status=403)

for each in client.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]:
    if each["Name"] != apex:
        change(zone, ("DELETE", each))

# Too many requests at once.
def hasty():
    for _ in range(200):
        client.list_hosted_zones()


refused("Throttling", hasty, "Rate exceeded")
time.sleep(1)

# certbot's plugin: two values at one name in the deeper zone, one after the other away again.
plugin = Authenticator(None, "dns-route53")
name = "_acme-challenge.www.deep.example.test"
for value in ("one", "two"):
    plugin._wait_for_change(plugin._change_txt_record("UPSERT", name, value))
[them] = [
    each
    for each in client.list_resource_record_sets(HostedZoneId=deep)["ResourceRecordSets"]
    if each["Type"] == "TXT"
]
assert [each["Value"] for each in them["ResourceRecords"]] == ['"one"', '"two"'] and them["TTL"] == 10
for value in ("one", "two"):
    plugin._change_txt_record("DELETE", name, value)

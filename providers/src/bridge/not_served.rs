//! Services that the crate knows and that are not served, with the reason; and what other tools call those that are.

/// Why there is no kind of this name, where somebody may have expected one; or what it is called here.
pub(crate) fn not_served(kind: &str) -> Option<String> {
    let known = |list: &[&str]| list.contains(&kind);
    if known(WITHOUT_READING) {
        return Some(format!(
            "the API of {kind} holds one value that cannot be read, so that writing would replace the value of another order; {ELSEWHERE}"
        ));
    }
    if known(WHOLE_ZONES) {
        return Some(format!(
            "the API of {kind} can only replace the whole zone, so that a change somebody makes at the same time would be lost; {ELSEWHERE}"
        ));
    }
    let (_, name) = ALSO.iter().find(|(other, _)| *other == kind)?;
    Some(format!("it is called `{name}` here"))
}

const ELSEWHERE: &str =
    "delegate `_acme-challenge` by CNAME to a zone elsewhere, see `dnseal dns delegate`";

const WITHOUT_READING: &[&str] = &["ddnss", "duckdns", "freemyip", "hurricane"];

const WHOLE_ZONES: &[&str] = &["joker", "namecheap"];

/// What lego and others call it, and its kind here.
const ALSO: &[(&str, &str)] = &[
    ("akamai", "edgedns"),
    ("aliyun", "alidns"),
    ("azure-dns", "azure"),
    ("azuredns", "azure"),
    ("bluecatv2", "bluecat"),
    ("dnspod", "tencentcloud"),
    ("gandiv5", "gandi"),
    ("gcloud", "google-cloud-dns"),
    ("google", "google-cloud-dns"),
    ("googlecloud", "google-cloud-dns"),
    ("hostingde", "hosting-de"),
    ("mythicbeasts", "mythic-beasts"),
    ("namecom", "name-com"),
    ("namedotcom", "name-com"),
    ("nsone", "ns1"),
    ("oci", "oraclecloud"),
    ("pdns", "powerdns"),
    ("selectelv2", "selectel"),
    ("simplycom", "simply"),
    ("zoneee", "zone-eu"),
    ("zoneeu", "zone-eu"),
];

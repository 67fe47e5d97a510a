//! Services from `lightsail` to `powerdns`.

use dns_update::DnsUpdater;
use dns_update::providers::lightsail::LightsailConfig;
use dns_update::providers::oraclecloud::OracleCloudConfig;
use dnseal_core::dns::WriteSafety::PerValue;
use dnseal_core::dns::WriteSafety::ReadModifyWrite;

use crate::bridge::Service;
use crate::bridge::file;
use crate::bridge::made;
use crate::bridge::option;
use crate::bridge::secret;
use crate::bridge::secret_option;
use crate::bridge::text;
use crate::bridge::timeout;
use crate::bridge::ttl;
use crate::bridge::url;
use crate::settings::SettingsError;

pub(super) const SERVICES: &[Service] = &[
    Service {
        kind: "lightsail",
        title: "Amazon Lightsail DNS",
        docs: "https://docs.aws.amazon.com/lightsail/2016-11-28/api-reference/API_CreateDomainEntry.html",
        settings: &[
            text("access-key", &["AWS_ACCESS_KEY_ID"], "The id of an access key"),
            secret("secret-key", &["AWS_SECRET_ACCESS_KEY"], "The access key's secret"),
            secret_option(
                "session-token",
                &["AWS_SESSION_TOKEN"],
                "The token that belongs to temporary credentials",
            ),
            option(
                "region",
                &["LIGHTSAIL_REGION"],
                Some("us-east-1"),
                "The region of the API; DNS is in us-east-1",
            ),
            option("zone", &["DNS_ZONE"], None, "The zone, where the name that DNS shows is not it"),
            timeout(&["LIGHTSAIL_HTTP_TIMEOUT"]),
        ],
        permissions: "\
An access key of an IAM user with a policy that allows
    lightsail:GetDomains  lightsail:GetDomain  lightsail:CreateDomainEntry  lightsail:DeleteDomainEntry
The service sets the TTL. Profiles and roles of machines are not asked.
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_lightsail(LightsailConfig {
                access_key_id: told.get("access-key"),
                secret_access_key: told.get("secret-key"),
                session_token: told.optional("session-token"),
                region: told.optional("region"),
                domain: told.optional("zone"),
                request_timeout: told.timeout()?,
            }))
        },
    },
    Service {
        kind: "linode",
        title: "Linode (Akamai Connected Cloud)",
        docs: "https://techdocs.akamai.com/linode-api/reference/get-domain-records",
        settings: &[
            secret("token", &["LINODE_TOKEN"], "A personal access token"),
            ttl(&["LINODE_TTL"], "300"),
            timeout(&["LINODE_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A token with Domains: Read/Write and nothing else (https://cloud.linode.com/profile/tokens). A restricted user keeps it to some domains.
Its name servers are updated every few minutes; `--propagation-timeout 15m` leaves time enough.
",
        write_safety: PerValue,
        connect: |told| made(DnsUpdater::new_linode(told.get("token"), told.timeout()?)),
    },
    Service {
        kind: "luadns",
        title: "LuaDNS",
        docs: "https://luadns.com/api.html",
        settings: &[
            text("username", &["LUADNS_API_USERNAME"], "The account's e-mail address"),
            secret("token", &["LUADNS_API_TOKEN"], "An API token"),
            ttl(&["LUADNS_TTL"], "300"),
            timeout(&["LUADNS_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A token of https://api.luadns.com/api_keys, restricted to the zone. API access must be switched on in the account's settings.
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_luadns(told.get("username"), told.get("token"), told.timeout()?))
        },
    },
    Service {
        kind: "mythic-beasts",
        title: "Mythic Beasts",
        docs: "https://www.mythic-beasts.com/support/api/dnsv2",
        settings: &[
            text("username", &["MYTHICBEASTS_USERNAME"], "The id of an API key"),
            secret("password", &["MYTHICBEASTS_PASSWORD"], "The secret that belongs to it"),
            ttl(&["MYTHICBEASTS_TTL"], "120"),
            timeout(&["MYTHICBEASTS_HTTP_TIMEOUT"]),
        ],
        permissions: "\
An API key for DNS API v2, restricted to the zone, the host `_acme-challenge` and the type TXT
(https://www.mythic-beasts.com/customer/api-users).
",
        write_safety: ReadModifyWrite,
        connect: |told| {
            made(DnsUpdater::new_mythicbeasts(
                told.get("username"),
                told.get("password"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "name-com",
        title: "Name.com",
        docs: "https://www.name.com/api-docs/dns",
        settings: &[
            text("username", &["NAMECOM_USERNAME"], "The account's name"),
            secret("token", &["NAMECOM_API_TOKEN"], "An API token"),
            ttl(&["NAMECOM_TTL"], "300"),
            timeout(&["NAMECOM_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A token of https://www.name.com/account/settings/api. It may do everything that the account may.
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_namedotcom(
                told.get("username"),
                told.get("token"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "namesilo",
        title: "NameSilo",
        docs: "https://www.namesilo.com/api-reference#dns/dns-list-records",
        settings: &[
            secret("api-key", &["NAMESILO_API_KEY"], "An API key"),
            ttl(&["NAMESILO_TTL"], "3600"),
            timeout(&["NAMESILO_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A key of https://www.namesilo.com/account/api-manager, restricted to this machine's address. It may do everything that the account may,
and the service takes it in the URL. No TTL below 3600; changes are served every 15 minutes: `--propagation-timeout 20m`.
",
        write_safety: PerValue,
        connect: |told| made(DnsUpdater::new_namesilo(told.get("api-key"), told.timeout()?)),
    },
    Service {
        kind: "netcup",
        title: "netcup",
        docs: "https://ccp.netcup.net/run/webservice/servers/endpoint.php",
        settings: &[
            text("customer", &["NETCUP_CUSTOMER_NUMBER"], "The customer's number"),
            secret("api-key", &["NETCUP_API_KEY"], "An API key"),
            secret("api-password", &["NETCUP_API_PASSWORD"], "The password of the API"),
            timeout(&["NETCUP_HTTP_TIMEOUT"]),
        ],
        permissions: "\
Key and password of the customer control panel (Master data → API). They may change every domain of the customer.
The zone has the TTL, and changes are served after up to 15 minutes: `--propagation-timeout 20m`.
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_netcup(
                told.get("customer"),
                told.get("api-key"),
                told.get("api-password"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "netlify",
        title: "Netlify",
        docs: "https://open-api.netlify.com/#tag/dnsZone",
        settings: &[
            secret("token", &["NETLIFY_TOKEN"], "A personal access token"),
            ttl(&["NETLIFY_TTL"], "120"),
            timeout(&["NETLIFY_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A token of https://app.netlify.com/user/applications#personal-access-tokens. It may do everything that its user may.
",
        write_safety: PerValue,
        connect: |told| made(DnsUpdater::new_netlify(told.get("token"), told.timeout()?)),
    },
    Service {
        kind: "nifcloud",
        title: "NIFCLOUD DNS",
        docs: "https://pfs.nifcloud.com/api/dns/",
        settings: &[
            text("access-key", &["NIFCLOUD_ACCESS_KEY_ID"], "The id of an access key"),
            secret("secret-key", &["NIFCLOUD_SECRET_ACCESS_KEY"], "The access key's secret"),
            ttl(&["NIFCLOUD_TTL"], "120"),
            timeout(&["NIFCLOUD_HTTP_TIMEOUT"]),
        ],
        permissions: "\
An access key of an account, or of a multi-account user, that may change DNS.
",
        write_safety: ReadModifyWrite,
        connect: |told| {
            made(DnsUpdater::new_nifcloud(
                told.get("access-key"),
                told.get("secret-key"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "ns1",
        title: "NS1 (IBM NS1 Connect)",
        docs: "https://developer.ibm.com/apis/catalog/ns1--ibm-ns1-connect-api/",
        settings: &[
            secret("api-key", &["NS1_API_KEY"], "An API key"),
            ttl(&["NS1_TTL"], "120"),
            timeout(&["NS1_HTTP_TIMEOUT"]),
        ],
        permissions: "\
An API key (https://my.nsone.net/#/account/settings/keys) with \"View zones\" and \"Manage zones\" for the one zone, or for
records of the type TXT in it.
",
        write_safety: ReadModifyWrite,
        connect: |told| made(DnsUpdater::new_ns1(told.get("api-key"), told.timeout()?)),
    },
    Service {
        kind: "oraclecloud",
        title: "Oracle Cloud DNS",
        docs: "https://docs.oracle.com/en-us/iaas/api/#/en/dns/latest/RecordSet/",
        settings: &[
            text("tenancy", &["OCI_TENANCY_OCID"], "The OCID of the tenancy"),
            text("user", &["OCI_USER_OCID"], "The OCID of the user"),
            text("fingerprint", &["OCI_PUBKEY_FINGERPRINT"], "The fingerprint of the user's public key"),
            file(
                "private-key",
                &["OCI_PRIVKEY_FILE"],
                true,
                "The user's private key: a PEM file (PKCS#8) without a passphrase",
            ),
            text("region", &["OCI_REGION"], "The region of the API, such as eu-frankfurt-1"),
            text("compartment", &["OCI_COMPARTMENT_OCID"], "The OCID of the compartment of the zone"),
            ttl(&["OCI_TTL"], "120"),
            timeout(&["OCI_HTTP_TIMEOUT"]),
        ],
        permissions: "\
An API key of a user in a group that a policy allows
    Allow group dnseal to use dns in compartment NAME
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_oraclecloud(OracleCloudConfig {
                tenancy_ocid: told.get("tenancy"),
                user_ocid: told.get("user"),
                fingerprint: told.get("fingerprint"),
                private_key_pem: told.get("private-key"),
                private_key_password: None,
                region: told.get("region"),
                compartment_ocid: told.get("compartment"),
                request_timeout: told.timeout()?,
            }))
        },
    },
    Service {
        kind: "ovh",
        title: "OVHcloud",
        docs: "https://eu.api.ovh.com/console/?section=%2Fdomain",
        settings: &[
            text("application-key", &["OVH_APPLICATION_KEY"], "The application's key"),
            secret("application-secret", &["OVH_APPLICATION_SECRET"], "The application's secret"),
            secret("consumer-key", &["OVH_CONSUMER_KEY"], "The consumer key"),
            option(
                "endpoint",
                &["OVH_ENDPOINT"],
                Some("ovh-eu"),
                "Which API: ovh-eu, ovh-ca, ovh-us, kimsufi-eu, kimsufi-ca, soyoustart-eu or soyoustart-ca",
            ),
            ttl(&["OVH_TTL"], "60"),
            timeout(&["OVH_HTTP_TIMEOUT"]),
        ],
        permissions: "\
All three keys are made at https://eu.api.ovh.com/createToken/ (or ca., or us.), with these rights and a validity without end:
    GET /domain/zone/example.com        GET /domain/zone/example.com/record    GET /domain/zone/example.com/record/*
    POST /domain/zone/example.com/record    POST /domain/zone/example.com/refresh    DELETE /domain/zone/example.com/record/*
OAuth2 clients are not served.
",
        write_safety: PerValue,
        connect: |told| {
            let endpoint = told.get("endpoint").parse().map_err(|_| {
                SettingsError::malformed("endpoint", format!("there is no `{}`", told.get("endpoint")))
                    .with_hint("write for example ovh-eu")
            })?;
            made(DnsUpdater::new_ovh(
                told.get("application-key"),
                told.get("application-secret"),
                told.get("consumer-key"),
                endpoint,
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "plesk",
        title: "Plesk",
        docs: "https://docs.plesk.com/en-US/obsidian/api-rpc/about-rest-api.79359/",
        settings: &[
            text("url", &["PLESK_SERVER_BASE_URL"], "Where Plesk is, such as https://example.com:8443"),
            secret("api-key", &["PLESK_API_KEY"], "A secret key of the REST API"),
            ttl(&["PLESK_TTL"], "300"),
            timeout(&["PLESK_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A secret key for this machine's address: `plesk bin secret_key --create -ip-address ADDRESS`. It may do what its administrator may.
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_plesk(url(told, "url")?, told.get("api-key"), told.timeout()?))
        },
    },
    Service {
        kind: "porkbun",
        title: "Porkbun",
        docs: "https://porkbun.com/api/json/v3/documentation",
        settings: &[
            secret("api-key", &["PORKBUN_API_KEY"], "An API key"),
            secret("secret-key", &["PORKBUN_SECRET_API_KEY"], "The secret that belongs to it"),
            ttl(&["PORKBUN_TTL"], "600"),
            timeout(&["PORKBUN_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A key of https://porkbun.com/account/api, and \"API Access\" switched on for the domain. It may change every such domain.
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_porkbun(
                told.get("api-key"),
                told.get("secret-key"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "powerdns",
        title: "PowerDNS Authoritative Server, by its HTTP API",
        docs: "https://doc.powerdns.com/authoritative/http-api/",
        settings: &[
            option(
                "url",
                &["PDNS_API_URL"],
                Some("http://localhost:8081"),
                "Where the API is, with or without /api/v1",
            ),
            secret("api-key", &["PDNS_API_KEY"], "What the server has as `api-key`"),
            option("server-id", &["PDNS_SERVER_NAME"], Some("localhost"), "The server's id in the API"),
            ttl(&["PDNS_TTL"], "60"),
            timeout(&["PDNS_HTTP_TIMEOUT"]),
        ],
        permissions: "\
The server's `api-key`, which may do everything; set `webserver-allow-from` to this machine. `kind: rfc2136` needs less: a TSIG key
that may change one zone, and its writes are safe from several machines.
",
        write_safety: ReadModifyWrite,
        connect: |told| {
            made(DnsUpdater::new_pdns(
                told.get("api-key"),
                Some(url(told, "url")?),
                Some(told.get("server-id")),
                told.timeout()?,
            ))
        },
    },
];

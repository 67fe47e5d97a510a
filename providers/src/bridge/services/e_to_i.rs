//! Services from `easydns` to `ipv64`.

use dns_update::DnsUpdater;
use dns_update::providers::edgedns::EdgeDnsConfig;
use dns_update::providers::google_cloud_dns::GoogleCloudDnsConfig;
use dns_update::providers::infoblox::InfobloxConfig;
use dnseal_core::dns::WriteSafety::CompareAndSwap;
use dnseal_core::dns::WriteSafety::PerValue;
use dnseal_core::dns::WriteSafety::ReadModifyWrite;

use crate::bridge::Service;
use crate::bridge::file;
use crate::bridge::flag;
use crate::bridge::made;
use crate::bridge::option;
use crate::bridge::secret;
use crate::bridge::secret_option;
use crate::bridge::text;
use crate::bridge::timeout;
use crate::bridge::ttl;

pub(super) const SERVICES: &[Service] = &[
    Service {
        kind: "easydns",
        title: "easyDNS",
        docs: "https://sandbox.rest.easydns.net:3001/",
        settings: &[
            text("token", &["EASYDNS_TOKEN"], "An API token"),
            secret("key", &["EASYDNS_KEY"], "The key that belongs to it"),
            ttl(&["EASYDNS_TTL"], "120"),
            timeout(&["EASYDNS_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A token and its key, made under Manage account → Security → REST API. They may change every domain of the account.
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_easydns(told.get("token"), told.get("key"), told.timeout()?))
        },
    },
    Service {
        kind: "edgedns",
        title: "Akamai Edge DNS",
        docs: "https://techdocs.akamai.com/edge-dns/reference/edge-dns-api",
        settings: &[
            text("host", &["AKAMAI_HOST"], "The host of the API client, `akab-….luna.akamaiapis.net`"),
            secret("client-token", &["AKAMAI_CLIENT_TOKEN"], "The client token"),
            secret("client-secret", &["AKAMAI_CLIENT_SECRET"], "The client secret"),
            secret("access-token", &["AKAMAI_ACCESS_TOKEN"], "The access token"),
            option(
                "account-switch-key",
                &["AKAMAI_ACCOUNT_SWITCH_KEY"],
                None,
                "The account to act for, if it is another",
            ),
            ttl(&["AKAMAI_TTL"], "120"),
            timeout(&["AKAMAI_HTTP_TIMEOUT"]),
        ],
        permissions: "\
An API client (https://control.akamai.com/apps/identity-management) with \"DNS—Zone Record Management\", READ-WRITE,
for the group that holds the zone.
",
        write_safety: ReadModifyWrite,
        connect: |told| {
            made(DnsUpdater::new_edgedns(EdgeDnsConfig {
                host: told.get("host"),
                client_token: told.get("client-token"),
                client_secret: told.get("client-secret"),
                access_token: told.get("access-token"),
                account_switch_key: told.optional("account-switch-key"),
                request_timeout: told.timeout()?,
            }))
        },
    },
    Service {
        kind: "exoscale",
        title: "Exoscale DNS",
        docs: "https://openapi-v2.exoscale.com/topic/topic-api-dns",
        settings: &[
            text("api-key", &["EXOSCALE_API_KEY"], "An IAM key"),
            secret("api-secret", &["EXOSCALE_API_SECRET"], "The secret that belongs to it"),
            ttl(&["EXOSCALE_TTL"], "120"),
            timeout(&["EXOSCALE_HTTP_TIMEOUT"]),
        ],
        permissions: "\
An IAM key with a role that allows the service class `dns` and nothing else; its policy may name the operations
    list-dns-domains  list-dns-domain-records  get-dns-domain-record  create-dns-domain-record  delete-dns-domain-record  get-operation
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_exoscale(
                told.get("api-key"),
                told.get("api-secret"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "gandi",
        title: "Gandi LiveDNS",
        docs: "https://api.gandi.net/docs/livedns/",
        settings: &[
            secret("token", &["GANDIV5_PERSONAL_ACCESS_TOKEN"], "A personal access token"),
            ttl(&["GANDIV5_TTL"], "300"),
            timeout(&["GANDIV5_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A personal access token for the one domain with \"Manage domain name technical configurations\"
(https://admin.gandi.net → Organizations → Sharing → Personal Access Token). It expires; the old API key is not served.
",
        write_safety: ReadModifyWrite,
        connect: |told| made(DnsUpdater::new_gandiv5(told.get("token"), told.timeout()?)),
    },
    Service {
        kind: "gcore",
        title: "Gcore DNS",
        docs: "https://api.gcore.com/docs/dns",
        settings: &[
            secret("token", &["GCORE_PERMANENT_API_TOKEN"], "A permanent API token"),
            ttl(&["GCORE_TTL"], "120"),
            timeout(&["GCORE_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A permanent token of a user that may change DNS (https://accounts.gcore.com/profile/api-tokens).
",
        write_safety: ReadModifyWrite,
        connect: |told| made(DnsUpdater::new_gcore(told.get("token"), told.timeout()?)),
    },
    Service {
        kind: "glesys",
        title: "GleSYS",
        docs: "https://github.com/glesys/API/wiki/API-Documentation",
        settings: &[
            text("api-user", &["GLESYS_API_USER"], "The project's key, `CL…`"),
            secret("api-key", &["GLESYS_API_KEY"], "An API key"),
            ttl(&["GLESYS_TTL"], "60"),
            timeout(&["GLESYS_HTTP_TIMEOUT"]),
        ],
        permissions: "\
An API key of https://cloud.glesys.com with the rights for domains: list, list records, add record, delete record. Restrict it to this
machine's address.
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_glesys(told.get("api-user"), told.get("api-key"), told.timeout()?))
        },
    },
    Service {
        kind: "godaddy",
        title: "GoDaddy",
        docs: "https://developer.godaddy.com/doc/endpoint/domains",
        settings: &[
            text("api-key", &["GODADDY_API_KEY"], "A production key"),
            secret("api-secret", &["GODADDY_API_SECRET"], "The secret that belongs to it"),
            ttl(&["GODADDY_TTL"], "600"),
            timeout(&["GODADDY_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A production key of https://developer.godaddy.com/keys. It may do everything to every domain of the account; accounts with
few domains are refused access to the API (403).
",
        write_safety: ReadModifyWrite,
        connect: |told| {
            made(DnsUpdater::new_godaddy(
                told.get("api-key"),
                told.get("api-secret"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "google-cloud-dns",
        title: "Google Cloud DNS",
        docs: "https://cloud.google.com/dns/docs/reference/rest/v1",
        settings: &[
            text("project", &["GCE_PROJECT"], "The project of the zone"),
            file(
                "service-account",
                &["GOOGLE_APPLICATION_CREDENTIALS"],
                false,
                "The JSON key file of a service account",
            ),
            secret_option(
                "service-account-json",
                &["GCE_SERVICE_ACCOUNT"],
                "What is in such a file, instead of the file",
            ),
            option(
                "managed-zone",
                &["GCE_ZONE_ID"],
                None,
                "The name of the managed zone; needed where the project also has a private zone, or one whose name ends like this one's",
            ),
            option(
                "impersonate",
                &["GCE_IMPERSONATE_SERVICE_ACCOUNT"],
                None,
                "The e-mail address of a service account to act as",
            ),
            ttl(&["GCE_TTL"], "60"),
            timeout(&["GCE_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A service account with the role roles/dns.admin, or with a role of its own that has
    dns.managedZones.list  dns.resourceRecordSets.list  dns.resourceRecordSets.create
    dns.resourceRecordSets.delete  dns.resourceRecordSets.update  dns.changes.create
    gcloud iam service-accounts keys create key.json --iam-account NAME@PROJECT.iam.gserviceaccount.com
The metadata server and `gcloud auth` are not asked.
",
        write_safety: CompareAndSwap,
        connect: |told| {
            let json = told
                .optional("service-account")
                .or_else(|| told.optional("service-account-json"))
                .ok_or_else(|| told.missing("service-account"))?;
            made(DnsUpdater::new_google_cloud_dns(GoogleCloudDnsConfig {
                service_account_json: json,
                project_id: told.get("project"),
                managed_zone: told.optional("managed-zone"),
                private_zone: false,
                impersonate_service_account: told.optional("impersonate"),
                request_timeout: told.timeout()?,
            }))
        },
    },
    Service {
        kind: "hetzner",
        title: "Hetzner DNS (Cloud API)",
        docs: "https://docs.hetzner.cloud/reference/cloud#zones",
        settings: &[
            secret("token", &["HETZNER_API_TOKEN"], "An API token of the project that holds the zone"),
            ttl(&["HETZNER_TTL"], "60"),
            timeout(&["HETZNER_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A token with Read & Write, made under https://console.hetzner.com → the project → Security → API tokens. It may change everything in
the project, so give zones a project of their own. Zones that are still in the old DNS Console have to be moved first.
",
        write_safety: PerValue,
        connect: |told| made(DnsUpdater::new_hetzner(told.get("token"), told.timeout()?)),
    },
    Service {
        kind: "hosting-de",
        title: "hosting.de",
        docs: "https://www.hosting.de/api/#dns",
        settings: &[
            secret("api-key", &["HOSTINGDE_API_KEY"], "An API key"),
            ttl(&["HOSTINGDE_TTL"], "60"),
            timeout(&["HOSTINGDE_HTTP_TIMEOUT"]),
        ],
        permissions: "\
An API key with DNS_ZONES_LIST and DNS_ZONES_EDIT (https://secure.hosting.de/profile → API keys).
",
        write_safety: PerValue,
        connect: |told| made(DnsUpdater::new_hostingde(told.get("api-key"), told.timeout()?)),
    },
    Service {
        kind: "hostinger",
        title: "Hostinger",
        docs: "https://developers.hostinger.com/#tag/dns-zone",
        settings: &[
            secret("token", &["HOSTINGER_API_TOKEN"], "An API token"),
            ttl(&["HOSTINGER_TTL"], "120"),
            timeout(&["HOSTINGER_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A token of https://hpanel.hostinger.com/profile/api. It may do everything that the account may.
",
        write_safety: ReadModifyWrite,
        connect: |told| made(DnsUpdater::new_hostinger(told.get("token"), told.timeout()?)),
    },
    Service {
        kind: "huaweicloud",
        title: "Huawei Cloud DNS",
        docs: "https://support.huaweicloud.com/intl/en-us/api-dns/dns_api_62001.html",
        settings: &[
            text("access-key", &["HUAWEICLOUD_ACCESS_KEY_ID"], "The id of an access key"),
            secret("secret-key", &["HUAWEICLOUD_SECRET_ACCESS_KEY"], "The access key's secret"),
            text("region", &["HUAWEICLOUD_REGION"], "The region of the API, such as eu-west-101"),
            ttl(&["HUAWEICLOUD_TTL"], "300"),
            timeout(&["HUAWEICLOUD_HTTP_TIMEOUT"]),
        ],
        permissions: "\
An access key of an IAM user with \"DNS FullAccess\", made under My credentials → Access keys.
",
        write_safety: ReadModifyWrite,
        connect: |told| {
            made(DnsUpdater::new_huaweicloud(
                told.get("access-key"),
                told.get("secret-key"),
                told.get("region"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "ibmcloud",
        title: "IBM Cloud, classic infrastructure (SoftLayer)",
        docs: "https://sldn.softlayer.com/reference/services/SoftLayer_Dns_Domain/",
        settings: &[
            text("username", &["SOFTLAYER_USERNAME"], "The name of the API user"),
            secret("api-key", &["SOFTLAYER_API_KEY"], "The classic infrastructure API key"),
            ttl(&["SOFTLAYER_TTL"], "120"),
            timeout(&["SOFTLAYER_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A classic infrastructure API key of a user with \"Manage DNS\" (https://cloud.ibm.com/iam/apikeys).
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_ibmcloud(
                told.get("username"),
                told.get("api-key"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "infoblox",
        title: "Infoblox NIOS",
        docs: "https://docs.infoblox.com/space/NIOS/35400616/NIOS+WAPI",
        settings: &[
            text("host", &["INFOBLOX_HOST"], "The grid manager"),
            option("port", &["INFOBLOX_PORT"], Some("443"), "Its port"),
            text("username", &["INFOBLOX_USERNAME"], "A user of the WAPI"),
            secret("password", &["INFOBLOX_PASSWORD"], "The user's password"),
            option("wapi-version", &["INFOBLOX_WAPI_VERSION"], Some("2.11"), "The version of the WAPI"),
            option(
                "view",
                &["INFOBLOX_DNS_VIEW"],
                Some("External"),
                "The name of the DNS view that the world sees",
            ),
            ttl(&["INFOBLOX_TTL"], "120"),
            timeout(&["INFOBLOX_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A user with API access and read/write to the TXT records of the zone in that view. The manager's certificate must be trusted by this
machine.
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_infoblox(InfobloxConfig {
                host: told.get("host"),
                port: told.optional("port"),
                username: told.get("username"),
                password: told.get("password"),
                wapi_version: told.optional("wapi-version"),
                dns_view: told.optional("view"),
                request_timeout: told.timeout()?,
            }))
        },
    },
    Service {
        kind: "infomaniak",
        title: "Infomaniak",
        docs: "https://developer.infomaniak.com/docs/api",
        settings: &[
            secret("token", &["INFOMANIAK_ACCESS_TOKEN"], "An API token"),
            ttl(&["INFOMANIAK_TTL"], "300"),
            timeout(&["INFOMANIAK_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A token with the scopes `domain:read`, `dns:read` and `dns:write`, made at https://manager.infomaniak.com/v3/ng/accounts/token/list.
",
        write_safety: PerValue,
        connect: |told| made(DnsUpdater::new_infomaniak(told.get("token"), told.timeout()?)),
    },
    Service {
        kind: "inwx",
        title: "INWX",
        docs: "https://www.inwx.de/en/help/apidoc",
        settings: &[
            text("username", &["INWX_USERNAME"], "The user's name"),
            secret("password", &["INWX_PASSWORD"], "The user's password"),
            flag("sandbox", &["INWX_SANDBOX"], "Use the test system, OT&E"),
            ttl(&["INWX_TTL"], "300"),
            timeout(&["INWX_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A sub-account with the role \"Nameserver\" and without a second factor, which cannot be answered here.
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_inwx(
                told.get("username"),
                told.get("password"),
                told.flag("sandbox")?,
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "ionos",
        title: "IONOS",
        docs: "https://developer.hosting.ionos.com/docs/dns",
        settings: &[
            secret("api-key", &["IONOS_API_KEY"], "An API key, `PREFIX.SECRET`"),
            ttl(&["IONOS_TTL"], "300"),
            timeout(&["IONOS_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A key of https://developer.hosting.ionos.com/keys. It may change every zone of the contract.
",
        write_safety: PerValue,
        connect: |told| made(DnsUpdater::new_ionos(told.get("api-key"), told.timeout()?)),
    },
    Service {
        kind: "ipv64",
        title: "IPv64.net",
        docs: "https://ipv64.net/dyndns_updater_api",
        settings: &[
            secret("api-key", &["IPV64_API_KEY"], "The account's API key"),
            timeout(&["IPV64_HTTP_TIMEOUT"]),
        ],
        permissions: "\
The API key of https://ipv64.net/account. It may change every domain of the account, and the service sets the TTL.
",
        write_safety: PerValue,
        connect: |told| made(DnsUpdater::new_ipv64(told.get("api-key"), told.timeout()?)),
    },
];

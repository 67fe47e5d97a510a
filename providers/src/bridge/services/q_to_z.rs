//! Services from `safedns` to `zone-eu`.

use dns_update::DnsUpdater;
use dns_update::providers::volcengine::VolcengineConfig;
use dns_update::providers::yandexcloud::YandexCloudConfig;
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
use crate::bridge::url;

pub(super) const SERVICES: &[Service] = &[
    Service {
        kind: "safedns",
        title: "ANS SafeDNS",
        docs: "https://developers.ukfast.io/documentation/safedns",
        settings: &[
            secret("token", &["SAFEDNS_AUTH_TOKEN"], "An API key"),
            ttl(&["SAFEDNS_TTL"], "120"),
            timeout(&["SAFEDNS_HTTP_TIMEOUT"]),
        ],
        permissions: "\
An application of https://portal.ans.co.uk with read and write access to SafeDNS and nothing else.
",
        write_safety: PerValue,
        connect: |told| made(DnsUpdater::new_safedns(told.get("token"), told.timeout()?)),
    },
    Service {
        kind: "scaleway",
        title: "Scaleway Domains and DNS",
        docs: "https://www.scaleway.com/en/developers/api/domains-and-dns/",
        settings: &[
            secret("token", &["SCW_SECRET_KEY", "SCALEWAY_API_TOKEN"], "The secret of an API key"),
            ttl(&["SCW_TTL", "SCALEWAY_TTL"], "60"),
            timeout(&["SCW_HTTP_TIMEOUT"]),
        ],
        permissions: "\
An API key of an IAM application with the permission set DomainsDNSFullAccess (https://console.scaleway.com/iam/api-keys).
",
        write_safety: PerValue,
        connect: |told| made(DnsUpdater::new_scaleway(told.get("token"), told.timeout()?)),
    },
    Service {
        kind: "selectel",
        title: "Selectel DNS (API v2)",
        docs: "https://developers.selectel.com/docs/cloud-services/dns_api/",
        settings: &[
            text("username", &["SELECTELV2_USERNAME"], "A service user"),
            secret("password", &["SELECTELV2_PASSWORD"], "The service user's password"),
            text("account", &["SELECTELV2_ACCOUNT_ID"], "The number of the account"),
            text("project", &["SELECTELV2_PROJECT_ID"], "The id of the project that holds the zone"),
            ttl(&["SELECTELV2_TTL"], "60"),
            timeout(&["SELECTELV2_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A service user with the role \"Member\" in the project (https://my.selectel.ru/iam/users_management).
",
        write_safety: ReadModifyWrite,
        connect: |told| {
            made(DnsUpdater::new_selectel(
                told.get("username"),
                told.get("password"),
                told.get("account"),
                told.get("project"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "simply",
        title: "Simply.com",
        docs: "https://www.simply.com/en/docs/api/",
        settings: &[
            text("account", &["SIMPLY_ACCOUNT_NAME"], "The account's name, `S123456`"),
            secret("api-key", &["SIMPLY_API_KEY"], "The account's API key"),
            ttl(&["SIMPLY_TTL"], "120"),
            timeout(&["SIMPLY_HTTP_TIMEOUT"]),
        ],
        permissions: "\
The API key of https://www.simply.com/en/controlpanel/account/. It may change every domain of the account.
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_simplycom(
                told.get("account"),
                told.get("api-key"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "spaceship",
        title: "Spaceship",
        docs: "https://docs.spaceship.dev/",
        settings: &[
            text("api-key", &["SPACESHIP_API_KEY"], "An API key"),
            secret("api-secret", &["SPACESHIP_API_SECRET"], "The secret that belongs to it"),
            ttl(&["SPACESHIP_TTL"], "120"),
            timeout(&["SPACESHIP_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A key of https://www.spaceship.com/application/api-manager/ with
    dnsrecords:read  dnsrecords:write
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_spaceship(
                told.get("api-key"),
                told.get("api-secret"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "tencentcloud",
        title: "Tencent Cloud DNSPod",
        docs: "https://www.tencentcloud.com/document/product/1157/49025",
        settings: &[
            text("secret-id", &["TENCENTCLOUD_SECRET_ID"], "The id of an API key"),
            secret("secret-key", &["TENCENTCLOUD_SECRET_KEY"], "The secret that belongs to it"),
            secret_option(
                "session-token",
                &["TENCENTCLOUD_SESSION_TOKEN"],
                "The token that belongs to temporary credentials",
            ),
            option("region", &["TENCENTCLOUD_REGION"], None, "The region of the API"),
            ttl(&["TENCENTCLOUD_TTL"], "600"),
            timeout(&["TENCENTCLOUD_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A key of a CAM user (https://console.cloud.tencent.com/cam) with a policy that allows
    dnspod:DescribeDomainList  dnspod:DescribeRecordList  dnspod:CreateRecord  dnspod:DeleteRecord
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_tencentcloud(
                told.get("secret-id"),
                told.get("secret-key"),
                told.optional("region"),
                told.optional("session-token"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "transip",
        title: "TransIP",
        docs: "https://api.transip.nl/rest/docs.html#domains-dns",
        settings: &[
            text("account", &["TRANSIP_ACCOUNT_NAME"], "The account's name"),
            file("private-key", &["TRANSIP_PRIVATE_KEY_PATH"], true, "A file with a private key of the API"),
            flag(
                "any-address",
                &["TRANSIP_GLOBAL_KEY"],
                "Ask for tokens that are good from every address, which only such keys can",
            ),
            ttl(&["TRANSIP_TTL"], "60"),
            timeout(&["TRANSIP_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A key pair of https://www.transip.eu/cp/account/api/, accepted from this machine's address only. It may change every domain of the account.
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_transip(
                told.get("account"),
                told.get("private-key"),
                told.flag("any-address")?,
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "ultradns",
        title: "UltraDNS",
        docs: "https://docs.ultradns.com/",
        settings: &[
            text("username", &["ULTRADNS_USERNAME"], "A user of the API"),
            secret("password", &["ULTRADNS_PASSWORD"], "The user's password"),
            option(
                "url",
                &["ULTRADNS_ENDPOINT"],
                Some("https://api.ultradns.com"),
                "Where the API is",
            ),
            ttl(&["ULTRADNS_TTL"], "120"),
            timeout(&["ULTRADNS_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A user for API access only, in a group that may read and change the one zone.
",
        write_safety: ReadModifyWrite,
        connect: |told| {
            made(DnsUpdater::new_ultradns(
                told.get("username"),
                told.get("password"),
                Some(url(told, "url")?),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "vercel",
        title: "Vercel",
        docs: "https://vercel.com/docs/rest-api/reference/endpoints/dns",
        settings: &[
            secret("token", &["VERCEL_API_TOKEN"], "An access token"),
            option("team", &["VERCEL_TEAM_ID"], None, "The id of the team that holds the domain"),
            ttl(&["VERCEL_TTL"], "60"),
            timeout(&["VERCEL_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A token of https://vercel.com/account/settings/tokens with the one team as its scope. It may do everything there.
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_vercel(told.get("token"), told.optional("team"), told.timeout()?))
        },
    },
    Service {
        kind: "volcengine",
        title: "Volcano Engine DNS",
        docs: "https://www.volcengine.com/docs/6758",
        settings: &[
            text("access-key", &["VOLC_ACCESSKEY"], "The id of an access key"),
            secret("secret-key", &["VOLC_SECRETKEY"], "The access key's secret"),
            option("region", &["VOLC_REGION"], Some("cn-north-1"), "The region of the API"),
            option(
                "host",
                &["VOLC_HOST"],
                Some("open.volcengineapi.com"),
                "The host of the API",
            ),
            ttl(&["VOLC_TTL"], "600"),
            timeout(&["VOLC_HTTP_TIMEOUT"]),
        ],
        permissions: "\
An access key of an IAM user with the policy DNSFullAccess (https://console.volcengine.com/iam/keymanage).
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_volcengine(VolcengineConfig {
                access_key: told.get("access-key"),
                secret_key: told.get("secret-key"),
                region: told.optional("region"),
                host: told.optional("host"),
                scheme: None,
                request_timeout: told.timeout()?,
            }))
        },
    },
    Service {
        kind: "vultr",
        title: "Vultr DNS",
        docs: "https://www.vultr.com/api/#tag/dns",
        settings: &[
            secret("api-key", &["VULTR_API_KEY"], "An API key"),
            ttl(&["VULTR_TTL"], "120"),
            timeout(&["VULTR_HTTP_TIMEOUT"]),
        ],
        permissions: "\
The API key of a sub-user that may manage DNS and nothing else, with this machine's address in its access control
(https://my.vultr.com/settings/#settingsapi).
",
        write_safety: PerValue,
        connect: |told| made(DnsUpdater::new_vultr(told.get("api-key"), told.timeout()?)),
    },
    Service {
        kind: "websupport",
        title: "Websupport",
        docs: "https://rest.websupport.sk/v2/docs",
        settings: &[
            text("api-key", &["WEBSUPPORT_API_KEY"], "An API key"),
            secret("api-secret", &["WEBSUPPORT_SECRET"], "The secret that belongs to it"),
            ttl(&["WEBSUPPORT_TTL"], "600"),
            timeout(&["WEBSUPPORT_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A standard API key of https://admin.websupport.sk/en/auth/security-settings. It may do what its user may.
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_websupport(
                told.get("api-key"),
                told.get("api-secret"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "yandexcloud",
        title: "Yandex Cloud DNS",
        docs: "https://yandex.cloud/en/docs/dns/api-ref/",
        settings: &[
            secret(
                "key",
                &["YANDEX_CLOUD_IAM_TOKEN"],
                "The JSON key of a service account, in base64",
            ),
            text("folder", &["YANDEX_CLOUD_FOLDER_ID"], "The id of the folder that holds the zone"),
            ttl(&["YANDEX_CLOUD_TTL"], "60"),
            timeout(&["YANDEX_CLOUD_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A service account with the role `dns.editor` in the folder; its key is made by
    yc iam key create --service-account-name dnseal --output key.json && base64 -w0 key.json
",
        write_safety: ReadModifyWrite,
        connect: |told| {
            made(DnsUpdater::new_yandexcloud(YandexCloudConfig {
                iam_token_b64: told.get("key"),
                folder_id: told.get("folder"),
                request_timeout: told.timeout()?,
            }))
        },
    },
    Service {
        kind: "zone-eu",
        title: "Zone.eu (Zone.ee)",
        docs: "https://api.zone.eu/v2",
        settings: &[
            text("username", &["ZONEEE_API_USER"], "The ZoneID user"),
            secret("api-key", &["ZONEEE_API_KEY"], "An API key of that user"),
            timeout(&["ZONEEE_HTTP_TIMEOUT"]),
        ],
        permissions: "\
An API key of ZoneID (https://my.zone.eu → Account management → ZoneID API). It may change every domain of the user, and the service
sets the TTL.
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_zoneeu(told.get("username"), told.get("api-key"), told.timeout()?))
        },
    },
];

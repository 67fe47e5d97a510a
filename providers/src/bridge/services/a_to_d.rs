//! Services from `alidns` to `dynu`.

use dns_update::DnsUpdater;
use dns_update::providers::azuredns::AzureDnsConfig;
use dns_update::providers::azuredns::AzureEnvironment;
use dns_update::providers::bluecatv2::BluecatV2Config;
use dnseal_core::dns::WriteSafety::CompareAndSwap;
use dnseal_core::dns::WriteSafety::PerValue;
use dnseal_core::dns::WriteSafety::ReadModifyWrite;

use crate::bridge::Service;
use crate::bridge::flag;
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
        kind: "alidns",
        title: "Alibaba Cloud DNS",
        docs: "https://www.alibabacloud.com/help/en/dns/api-alidns-2015-01-09-overview",
        settings: &[
            text("access-key", &["ALICLOUD_ACCESS_KEY"], "The id of an access key"),
            secret("secret-key", &["ALICLOUD_SECRET_KEY"], "The access key's secret"),
            secret_option(
                "security-token",
                &["ALICLOUD_SECURITY_TOKEN"],
                "The token that belongs to temporary credentials (STS)",
            ),
            option("region", &["ALICLOUD_REGION_ID"], None, "The region of the API"),
            option(
                "line",
                &["ALICLOUD_LINE"],
                None,
                "The resolution line that values are for; all of them by default",
            ),
            ttl(&["ALICLOUD_TTL"], "600"),
            timeout(&["ALICLOUD_HTTP_TIMEOUT"]),
        ],
        permissions: "\
An access key of a RAM user (https://ram.console.aliyun.com/users) with a policy that allows
    alidns:DescribeDomains  alidns:DescribeDomainRecords  alidns:AddDomainRecord  alidns:DeleteDomainRecord
for acs:alidns:*:*:domain/example.com
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_alidns(
                told.get("access-key"),
                told.get("secret-key"),
                told.optional("region"),
                told.optional("security-token"),
                told.optional("line"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "arvancloud",
        title: "ArvanCloud",
        docs: "https://www.arvancloud.ir/api/cdn/4.0",
        settings: &[
            secret(
                "api-key",
                &["ARVANCLOUD_API_KEY"],
                "A key of a machine user, with the word `Apikey` that stands before it",
            ),
            ttl(&["ARVANCLOUD_TTL"], "600"),
            timeout(&["ARVANCLOUD_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A machine user with access to the DNS of the domain, made in the panel under Profile → Machine users.
",
        write_safety: PerValue,
        connect: |told| made(DnsUpdater::new_arvancloud(told.get("api-key"), told.timeout()?)),
    },
    Service {
        kind: "autodns",
        title: "InterNetX AutoDNS",
        docs: "https://help.internetx.com/display/APIJSONEN",
        settings: &[
            text("username", &["AUTODNS_API_USER"], "A user"),
            secret("password", &["AUTODNS_API_PASSWORD"], "The user's password"),
            option("context", &["AUTODNS_CONTEXT"], Some("4"), "The number of the context"),
            ttl(&["AUTODNS_TTL"], "600"),
            timeout(&["AUTODNS_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A user of its own that may see and change zones, and has no second factor.
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_autodns(
                told.get("username"),
                told.get("password"),
                told.number("context")?,
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "azure",
        title: "Azure DNS",
        docs: "https://learn.microsoft.com/en-us/rest/api/dns/record-sets",
        settings: &[
            text("tenant-id", &["AZURE_TENANT_ID"], "The tenant of the service principal"),
            text("client-id", &["AZURE_CLIENT_ID"], "The application id of the service principal"),
            secret("client-secret", &["AZURE_CLIENT_SECRET"], "A secret of the service principal"),
            text("subscription-id", &["AZURE_SUBSCRIPTION_ID"], "The subscription of the zone"),
            text("resource-group", &["AZURE_RESOURCE_GROUP"], "The resource group of the zone"),
            option(
                "environment",
                &["AZURE_ENVIRONMENT"],
                Some("public"),
                "Which cloud: public, china or usgovernment",
            ),
            ttl(&["AZURE_TTL"], "60"),
            timeout(&["AZURE_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A service principal with the role \"DNS Zone Contributor\" on the zone, or a role of your own that has
    Microsoft.Network/dnsZones/TXT/read  …/write  …/delete
    az ad sp create-for-rbac --name dnseal --role 'DNS Zone Contributor' --scopes ZONE_ID
Managed identities and workload identities are not served.
",
        write_safety: ReadModifyWrite,
        connect: |told| {
            let environment = told.get("environment").to_ascii_lowercase();
            if !matches!(environment.as_str(), "public" | "china" | "usgovernment") {
                return Err(SettingsError::malformed(
                    "environment",
                    format!("`{environment}` is none of `public`, `china` and `usgovernment`"),
                ));
            }
            made(DnsUpdater::new_azuredns(AzureDnsConfig {
                tenant_id: told.get("tenant-id"),
                client_id: told.get("client-id"),
                client_secret: told.get("client-secret"),
                subscription_id: told.get("subscription-id"),
                resource_group: told.get("resource-group"),
                environment: AzureEnvironment::from_str_lossy(&environment),
                request_timeout: told.timeout()?,
            }))
        },
    },
    Service {
        kind: "baiducloud",
        title: "Baidu Cloud DNS",
        docs: "https://cloud.baidu.com/doc/DNS/index.html",
        settings: &[
            text("access-key", &["BAIDUCLOUD_ACCESS_KEY_ID"], "The id of an access key"),
            secret("secret-key", &["BAIDUCLOUD_SECRET_ACCESS_KEY"], "The access key's secret"),
            ttl(&["BAIDUCLOUD_TTL"], "300"),
            timeout(&["BAIDUCLOUD_HTTP_TIMEOUT"]),
        ],
        permissions: "\
An access key of an IAM user that may manage DNS, made under Security authentication → Access key.
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_baiducloud(
                told.get("access-key"),
                told.get("secret-key"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "bluecat",
        title: "BlueCat Address Manager, REST API v2",
        docs: "https://docs.bluecatnetworks.com/r/Address-Manager-RESTful-v2-API-Guide",
        settings: &[
            text("url", &["BLUECATV2_SERVER_URL"], "Where the Address Manager is"),
            text("username", &["BLUECATV2_USERNAME"], "A user of the API"),
            secret("password", &["BLUECATV2_PASSWORD"], "The user's password"),
            text("configuration", &["BLUECATV2_CONFIG_NAME"], "The name of the configuration"),
            text("view", &["BLUECATV2_VIEW_NAME"], "The name of the view that the world sees"),
            flag(
                "skip-deploy",
                &["BLUECATV2_SKIP_DEPLOY"],
                "Do not deploy the zone after a write, because something else does",
            ),
            ttl(&["BLUECATV2_TTL"], "120"),
            timeout(&["BLUECATV2_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A user with API access that may change resource records of the zone, and deploy it unless `skip-deploy` is set.
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_bluecatv2(BluecatV2Config {
                server_url: url(told, "url")?,
                username: told.get("username"),
                password: told.get("password"),
                config_name: told.get("configuration"),
                view_name: told.get("view"),
                skip_deploy: told.flag("skip-deploy")?,
                request_timeout: told.timeout()?,
            }))
        },
    },
    Service {
        kind: "bunny",
        title: "bunny.net DNS",
        docs: "https://docs.bunny.net/reference/dnszonepublic_index",
        settings: &[
            secret("api-key", &["BUNNY_API_KEY"], "The account's API key"),
            ttl(&["BUNNY_TTL"], "60"),
            timeout(&["BUNNY_HTTP_TIMEOUT"]),
        ],
        permissions: "\
The account's API key (https://dash.bunny.net/account/api-key), which may do everything. Delegate `_acme-challenge`
to an account of its own where that is too much.
",
        write_safety: PerValue,
        connect: |told| made(DnsUpdater::new_bunny(told.get("api-key"), told.timeout()?)),
    },
    Service {
        kind: "cloudns",
        title: "ClouDNS",
        docs: "https://www.cloudns.net/wiki/article/41/",
        settings: &[
            option("auth-id", &["CLOUDNS_AUTH_ID"], None, "The id of an API user"),
            option(
                "sub-auth-id",
                &["CLOUDNS_SUB_AUTH_ID"],
                None,
                "The id of an API sub-user, instead of `auth-id`",
            ),
            secret("password", &["CLOUDNS_AUTH_PASSWORD"], "The password of that user"),
            ttl(&["CLOUDNS_TTL"], "60"),
            timeout(&["CLOUDNS_HTTP_TIMEOUT"]),
        ],
        permissions: "\
An API sub-user that is given the one zone, and this machine's address as the only one it may come from
(https://www.cloudns.net/api-settings/).
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_cloudns(
                told.optional("auth-id"),
                told.optional("sub-auth-id"),
                told.get("password"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "constellix",
        title: "Constellix",
        docs: "https://api-docs.constellix.com/",
        settings: &[
            text("api-key", &["CONSTELLIX_API_KEY"], "An API key"),
            secret("secret-key", &["CONSTELLIX_SECRET_KEY"], "The secret that belongs to it"),
            ttl(&["CONSTELLIX_TTL"], "60"),
            timeout(&["CONSTELLIX_HTTP_TIMEOUT"]),
        ],
        permissions: "\
An API key of a user that may change the domain, made under My Account → Users.
",
        write_safety: ReadModifyWrite,
        connect: |told| {
            made(DnsUpdater::new_constellix(
                told.get("api-key"),
                told.get("secret-key"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "cpanel",
        title: "cPanel",
        docs: "https://api.docs.cpanel.net/openapi/cpanel/operation/dns-mass_edit_zone/",
        settings: &[
            text("url", &["CPANEL_BASE_URL"], "Where cPanel is, such as https://example.com:2083"),
            text("username", &["CPANEL_USERNAME"], "The user's name"),
            secret("token", &["CPANEL_TOKEN"], "An API token of that user"),
            ttl(&["CPANEL_TTL"], "300"),
            timeout(&["CPANEL_HTTP_TIMEOUT"]),
        ],
        permissions: "\
An API token, made under Security → Manage API Tokens. It may do what its user may; the zone editor must be enabled.
",
        write_safety: CompareAndSwap,
        connect: |told| {
            made(DnsUpdater::new_cpanel(
                url(told, "url")?,
                told.get("username"),
                told.get("token"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "desec",
        title: "deSEC",
        docs: "https://desec.readthedocs.io/en/latest/dns/rrsets.html",
        settings: &[
            secret("token", &["DESEC_TOKEN"], "A token"),
            ttl(&["DESEC_TTL"], "3600"),
            timeout(&["DESEC_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A token of https://desec.io/tokens. A token policy can restrict its writes to one domain and the type TXT
(https://desec.readthedocs.io/en/latest/auth/tokens.html#token-scoping-policies).
deSEC takes no TTL below 3600 unless it has agreed to one.
",
        write_safety: ReadModifyWrite,
        connect: |told| made(DnsUpdater::new_desec(told.get("token"), told.timeout()?)),
    },
    Service {
        kind: "digitalocean",
        title: "DigitalOcean DNS",
        docs: "https://docs.digitalocean.com/reference/api/reference/domain-records/",
        settings: &[
            secret("token", &["DO_AUTH_TOKEN"], "An API token"),
            ttl(&["DO_TTL"], "30"),
            timeout(&["DO_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A token with custom scopes, made at https://cloud.digitalocean.com/account/api/tokens:
    domain:read  domain:create  domain:update  domain:delete
It may change every domain of the team.
",
        write_safety: PerValue,
        connect: |told| made(DnsUpdater::new_digitalocean(told.get("token"), told.timeout()?)),
    },
    Service {
        kind: "dnsimple",
        title: "DNSimple",
        docs: "https://developer.dnsimple.com/v2/zones/records/",
        settings: &[
            secret("token", &["DNSIMPLE_OAUTH_TOKEN"], "An API token"),
            text("account", &["DNSIMPLE_ACCOUNT_ID"], "The number of the account, as in its URL"),
            ttl(&["DNSIMPLE_TTL"], "120"),
            timeout(&["DNSIMPLE_HTTP_TIMEOUT"]),
        ],
        permissions: "\
An account token, restricted to the zone where the plan offers that (Account → Automation → API tokens).
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_dnsimple(
                told.get("token"),
                told.get("account"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "dnsmadeeasy",
        title: "DNS Made Easy",
        docs: "https://api-docs.dnsmadeeasy.com/",
        settings: &[
            text("api-key", &["DNSMADEEASY_API_KEY"], "An API key"),
            secret("api-secret", &["DNSMADEEASY_API_SECRET"], "The secret that belongs to it"),
            ttl(&["DNSMADEEASY_TTL"], "120"),
            timeout(&["DNSMADEEASY_HTTP_TIMEOUT"]),
        ],
        permissions: "\
The API key of a user that may change the domain (https://cp.dnsmadeeasy.com/account/info).
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_dnsmadeeasy(
                told.get("api-key"),
                told.get("api-secret"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "domeneshop",
        title: "Domeneshop",
        docs: "https://api.domeneshop.no/docs/",
        settings: &[
            text("api-token", &["DOMENESHOP_API_TOKEN"], "An API token"),
            secret("api-secret", &["DOMENESHOP_API_SECRET"], "The secret that belongs to it"),
            ttl(&["DOMENESHOP_TTL"], "300"),
            timeout(&["DOMENESHOP_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A token of https://domene.shop/admin?view=api. It may change every domain of the account.
",
        write_safety: PerValue,
        connect: |told| {
            made(DnsUpdater::new_domeneshop(
                told.get("api-token"),
                told.get("api-secret"),
                told.timeout()?,
            ))
        },
    },
    Service {
        kind: "dreamhost",
        title: "DreamHost",
        docs: "https://help.dreamhost.com/hc/en-us/articles/217555707-DNS-API-commands",
        settings: &[
            secret("api-key", &["DREAMHOST_API_KEY"], "An API key"),
            timeout(&["DREAMHOST_HTTP_TIMEOUT"]),
        ],
        permissions: "\
A key of https://panel.dreamhost.com/?tree=home.api with
    dns-list_records  dns-add_record  dns-remove_record
The service sets the TTL, and takes the key in the URL.
",
        write_safety: PerValue,
        connect: |told| made(DnsUpdater::new_dreamhost(told.get("api-key"), told.timeout()?)),
    },
    Service {
        kind: "dynu",
        title: "Dynu",
        docs: "https://www.dynu.com/en-US/Support/API",
        settings: &[
            secret("api-key", &["DYNU_API_KEY"], "The account's API key"),
            ttl(&["DYNU_TTL"], "300"),
            timeout(&["DYNU_HTTP_TIMEOUT"]),
        ],
        permissions: "\
The API key of https://www.dynu.com/en-US/ControlPanel/APICredentials. It may change every domain of the account.
",
        write_safety: PerValue,
        connect: |told| made(DnsUpdater::new_dynu(told.get("api-key"), told.timeout()?)),
    },
];

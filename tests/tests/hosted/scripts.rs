//! Scripts as people have them: over `nsupdate`, whose key comes to them in a variable of their own.

use std::net::SocketAddr;
use std::sync::Arc;

use dnseal_core::dns::DnsProvider;
use dnseal_tests::{PluginDir, TsigKey, build};

/// A directory with one script for each contract, and some that fail.
pub(crate) struct Scripts {
    dir: PluginDir,
    key: TsigKey,
    server: SocketAddr,
}

impl Scripts {
    pub(crate) fn new(server: SocketAddr, key: TsigKey) -> Self {
        let dir = PluginDir::empty();
        for (name, script) in SCRIPTS {
            dir.put(
                name,
                &format!("#!/bin/sh\nset -eu\nhere=$(dirname \"$0\")\n{script}"),
            );
        }
        Self { dir, key, server }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Makes the pipe that some scripts wait at.
    pub(crate) fn with_gate(self) -> Self {
        let made = std::process::Command::new("mkfifo")
            .arg(self.path("gate"))
            .status()
            .unwrap();
        assert!(made.success());
        self
    }

    /// Lets whoever waits at the pipe go on.
    pub(crate) fn open_gate(&self) {
        std::fs::write(self.path("gate"), "go\n").unwrap();
    }

    pub(crate) fn key(&self) -> &TsigKey {
        &self.key
    }

    pub(crate) fn provider(&self, kind: &str, settings: &[(&str, String)]) -> Arc<dyn DnsProvider> {
        let mut settings = settings.to_vec();
        settings.extend(self.env().map(|(key, value)| (key, value)));
        build(dnseal_providers::kind(kind).unwrap(), &settings)
    }

    /// A provider whose script never ends.
    pub(crate) fn silent(&self, kind: &str, command: &'static str) -> Arc<dyn DnsProvider> {
        let settings = [(command, self.path("hangs")), ("timeout", "1".to_owned())];
        self.provider(kind, &settings)
    }

    /// The variables, for a flow mapping of YAML.
    pub(crate) fn env_yaml(&self) -> String {
        let [(_, server), (_, key)] = self.env();
        format!(", env: {{ SERVER: '{server}', KEY: '{key}' }}")
    }

    /// The variables, as `DNSEAL_SET` has settings.
    pub(crate) fn env_lines(&self) -> String {
        let [(_, server), (_, key)] = self.env();
        format!("env.SERVER={server}\nenv.KEY={key}\n")
    }

    /// A secret beside the variables that each needs, for a flow mapping of YAML.
    pub(crate) fn env_yaml_with(&self, secret: &str) -> String {
        let yaml = self.env_yaml();
        format!("{}, CANARY: '{secret}' }}", yaml.trim_end_matches(" }"))
    }

    fn env(&self) -> [(&'static str, String); 2] {
        let key = &self.key;
        [
            (
                "env.SERVER",
                format!("{} {}", self.server.ip(), self.server.port()),
            ),
            (
                "env.KEY",
                format!("{}:{} {}", key.algorithm, key.name, key.secret_base64),
            ),
        ]
    }
}

const SCRIPTS: [(&str, &str); 18] = [
    (
        "exec",
        r#"case $1 in present) what="add $2 60" ;; cleanup) what="delete $2" ;; *) exit 9 ;; esac
value=$(printf '%s' "$3" | fold -w 255 | sed 's/.*/"&"/' | tr '\n' ' ')
printf 'server %s\nkey %s\nupdate %s TXT %s\nsend\n' "$SERVER" "$KEY" "$what" "$value" | nsupdate -v
"#,
    ),
    (
        "raw",
        r#"[ "$2" = -- ]
value=$(printf '%s' "$5" | openssl dgst -sha256 -binary | base64 | tr '+/' '-_' | tr -d '=')
case $5 in "$4".*) exec "$here/exec" "$1" "_acme-challenge.$3." "$value" ;; *) exit 8 ;; esac
"#,
    ),
    (
        "auth",
        r#"[ -z "${CERTBOT_TOKEN-}" ] && [ "$CERTBOT_DOMAIN" = "$CERTBOT_IDENTIFIER" ]
"$here/exec" present "_acme-challenge.$CERTBOT_DOMAIN." "$CERTBOT_VALIDATION"
echo "auth $CERTBOT_DOMAIN $CERTBOT_REMAINING_CHALLENGES $CERTBOT_ALL_DOMAINS" >>"$here/heard"
echo wrote it
"#,
    ),
    (
        "cleanup",
        r#""$here/exec" cleanup "_acme-challenge.$CERTBOT_DOMAIN." "$CERTBOT_VALIDATION"
echo "cleanup $CERTBOT_DOMAIN $CERTBOT_AUTH_OUTPUT" >>"$here/heard"
"#,
    ),
    (
        "dehydrated",
        r#"case $1 in
    deploy_challenge) exec "$here/exec" present "_acme-challenge.$2." "$4" ;;
    clean_challenge) exec "$here/exec" cleanup "_acme-challenge.$2." "$4" ;;
    *) exit 9 ;;
esac
"#,
    ),
    (
        "chain",
        r#"handler=$1; shift
echo "$handler $#" >>"$here/chained"
while [ $# -gt 0 ]; do "$here/dehydrated" "$handler" "$1" "$2" "$3"; shift 3; done
"#,
    ),
    // Whatever its name is, it writes down its surroundings and does as that one does.
    (
        "tells",
        r#"what=$1; shift
env >>"$here/surroundings-$what"
exec "$here/$what" "$@"
"#,
    ),
    ("lies", "exit 0\n"),
    (
        "keeps",
        r#"[ "$1" = present ] || [ -e "$here/mended" ] || exit 0
exec "$here/exec" "$@"
"#,
    ),
    ("fails", "echo 'no such zone' >&2\nexit 3\n"),
    (
        "prompts",
        "read -r answer || { echo 'nobody answered' >&2; exit 1; }\n",
    ),
    ("hangs", "sleep 1000\n"),
    // What it leaves behind has its standard output, and goes on until somebody writes to `gate`.
    (
        "leaves",
        r#"(read -r word <"$here/gate"; echo "$word" >"$here/heard") &
echo done
"#,
    ),
    // So does this one, in a session of its own, and it does not end either.
    (
        "leaves-and-hangs",
        r#"echo start >>"$here/starts"
setsid sh -c "echo \$\$ >$here/pid; sleep 1000" &
wait
"#,
    ),
    // The first call writes when `gate` is written to, and says before that it is there.
    (
        "late",
        r#"if mkdir "$here/first" 2>/dev/null; then
    echo "$$" >"$here/pid.new" && mv "$here/pid.new" "$here/pid"
    read -r word <"$here/gate"
fi
exec "$here/exec" "$@"
"#,
    ),
    ("no-curl", "curl-that-is-not-there https://dns.example\n"),
    ("leaks", "echo \"the key is $KEY\" >&2\nexit 1\n"),
    ("fails-at-b", "[ \"$3\" != b ]\n"),
];

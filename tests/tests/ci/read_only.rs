//! As a job in a hardened container has it: no name for the user, a root that nobody writes to, one directory, no resolver.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use dnseal_tests::{Shop, dnseal, skip};

/// Makes everything read-only but `$1`, gives `/etc` nothing but the roots of TLS, and runs the rest as a user without a name.
const INSIDE: &str = r#"
set -e
mount --make-rprivate /
mkdir -p "$1/etc/ssl"
cp -a /etc/ssl/. "$1/etc/ssl" 2>/dev/null || true
mount --bind "$1/etc" /etc
mount --bind "$1/job" "$1/job"
while read -r _ at _; do
    case "$at" in /proc*|/sys*|/dev*|"$1/job") ;; *) mount -o remount,bind,ro "$at" 2>/dev/null || true ;; esac
done < /proc/self/mounts
cd "$1/job"
job=$1/job
shift
exec setpriv --reuid=54321 --regid=54321 --clear-groups --no-new-privs sh -c '
    if touch /tmp/x 2>/dev/null || touch /etc/x 2>/dev/null || touch ../x 2>/dev/null; then echo "it can be written" >&2; exit 99; fi
    if test -e /etc/resolv.conf || test -e /etc/passwd; then echo "there is an /etc" >&2; exit 98; fi
    exec "$@"
' sh "$@"
"#;

#[test]
fn any_user_and_one_writable_directory_are_enough() {
    let Some(shop) = Shop::open() else { return };
    let tried = Command::new("unshare").args(["--mount", "true"]).output();
    if !tried.is_ok_and(|output| output.status.success()) {
        skip("no right to make mount namespaces");
        return;
    }
    // What the user may reach: the binary and the CA's root lie where only the owner enters.
    let root = tempfile::TempDir::with_prefix("dnseal-root-").unwrap();
    let open = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    open(root.path(), 0o755);
    let job = root.path().join("job");
    fs::create_dir(&job).unwrap();
    std::os::unix::fs::chown(&job, Some(54321), Some(54321)).unwrap();
    let bin = root.path().join("dnseal");
    fs::copy(dnseal(), &bin).unwrap();
    open(&bin, 0o755);
    let ca = root.path().join("ca.pem");
    fs::copy(shop.pebble.ca_pem_path(), &ca).unwrap();
    open(&ca, 0o644);

    let server = shop.nameserver().to_string();
    let run = |words: &[&str]| {
        Command::new("unshare")
            .args(["--mount", "sh", "-c", INSIDE, "sh"])
            .arg(root.path())
            .arg(&bin)
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("DNSEAL_DIR", "state")
            .env("DNSEAL_CA", shop.pebble.directory_url())
            .env("DNSEAL_CA_ROOT", &ca)
            .env("DNSEAL_AGREE_TOS", "yes")
            .env("DNSEAL_PROVIDER", "rfc2136")
            .env("DNSEAL_NAMESERVER", &server)
            .env("RFC2136_NAMESERVER", &server)
            .env("RFC2136_TSIG_KEY", &shop.key.name)
            .env("RFC2136_TSIG_SECRET", &shop.key.secret_base64)
            .output()
            .unwrap()
    };
    for words in [
        &["issue", "example.test", "*.example.test"][..],
        &["issue", "example.test", "*.example.test", "--force"],
        &["renew"],
        &["list"],
        &["doctor", "example.test"],
    ] {
        let output = run(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
    }
    let key = job.join("state/live/example.test/privkey.pem");
    assert!(key.exists());
}

//! The account's key from the environment: found at the CA, used, and written nowhere.

use std::fs;

use dnseal_tests::{Dnseal, Eab, Shop};

use crate::written;

const KID: &str = "kid-1";
const HMAC: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// A CA that wants an external account for every registration.
fn shop() -> Option<Shop> {
    Shop::open_with(|options| {
        options.eab = Some(Eab {
            kid: KID.to_owned(),
            hmac_key: HMAC.to_owned(),
        });
    })
}

/// With the external account, as for the one registration that it is good for.
fn bound(command: Dnseal) -> Dnseal {
    command
        .env("DNSEAL_EAB_KID", KID)
        .env("DNSEAL_EAB_HMAC_KEY", HMAC)
}

#[test]
fn a_job_with_an_empty_store_uses_the_account_of_the_key() {
    let Some(shop) = shop() else { return };
    bound(shop.issue(&["example.test"])).run().success();
    let export = |format: &str| {
        let export = shop.command("account export").args(["--format", format]);
        export.run().success().stdout
    };
    let (pem, jwk) = (export("pkcs8"), export("jwk"));
    let url = shop.command("account list --output json").run().success();
    let url = url.json()["accounts"][0]["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let in_record = fs::read_to_string(
        fs::read_dir(shop.dir().join("store/accounts"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path(),
    )
    .unwrap();
    let in_record: serde_json::Value = serde_json::from_str(&in_record).unwrap();
    let private = in_record["key"].as_str().unwrap().to_owned();

    for key in [pem.clone(), jwk, pem.trim().replace('\n', "\\n")] {
        fs::remove_dir_all(shop.dir()).unwrap();
        // No external account any more: a CA takes each of them once.
        let issued = shop
            .issue(&["example.test", "*.example.test", "--output", "json"])
            .env("DNSEAL_ACCOUNT_KEY", &key)
            .run()
            .success()
            .json();
        assert_eq!(issued["certificates"][0]["issued_now"], true, "{issued:#}");
        let head = shop.head("example.test").unwrap();
        assert_eq!(head["current"]["account"], url.as_str());
        assert!(!written(&shop.dir(), &private));
        assert!(!shop.dir().join("store/accounts").exists());
    }
    assert!(written(&shop.dir(), "BEGIN PRIVATE KEY"));

    // `renew` and `revoke` are told in the same way, here by a file.
    let file = shop.home().join("account.pem");
    fs::write(&file, &pem).unwrap();
    shop.command("renew --force")
        .env("DNSEAL_ACCOUNT_KEY_FILE", &file)
        .env("RFC2136_TSIG_SECRET", &shop.key.secret_base64)
        .run()
        .success();
    let head = shop.head("example.test").unwrap();
    assert_eq!(head["current"]["number"], 2);
    assert_eq!(head["current"]["account"], url.as_str());
    let revoked = shop
        .command("revoke example.test --output json")
        .arg("--ca-root")
        .arg(shop.pebble.ca_pem_path())
        .env("DNSEAL_ACCOUNT_KEY_FILE", &file)
        .run()
        .success()
        .json();
    assert_eq!(revoked["signed_by"], "account", "{revoked:#}");
    assert_eq!(revoked["account"]["url"], url.as_str());
    assert!(!shop.dir().join("store/accounts").exists());
}

#[test]
fn a_key_that_no_ca_knows_is_registered_and_still_not_stored() {
    let Some(shop) = shop() else { return };
    let key = shop.home().join("new.pem");
    let made = std::process::Command::new("openssl")
        .args(["genpkey", "-algorithm", "EC"])
        .args(["-pkeyopt", "ec_paramgen_curve:P-256", "-out"])
        .arg(&key)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let register = || {
        shop.command("account register --agree-tos --output json")
            .env("DNSEAL_CA", shop.pebble.directory_url())
            .env("DNSEAL_CA_ROOT", shop.pebble.ca_pem_path())
            .env("DNSEAL_ACCOUNT_KEY_FILE", &key)
    };
    let without = register().run();
    assert_eq!(without.status.code(), Some(2), "{}", without.stderr);
    assert!(
        without.stderr.contains("external account"),
        "{}",
        without.stderr
    );
    let made = bound(register()).run().success().json();
    assert_eq!(made["registered_now"], true, "{made:#}");
    assert_eq!(made["in_store"], false);
    let again = register().run().success().json();
    assert_eq!(again["registered_now"], false);
    assert_eq!(again["url"], made["url"]);
    let issue = shop
        .issue(&["example.test"])
        .env("DNSEAL_ACCOUNT_KEY_FILE", &key);
    issue.run().success();
    let head = shop.head("example.test").unwrap();
    assert_eq!(head["current"]["account"], made["url"]);
    assert!(!shop.dir().join("store/accounts").exists());
}

#[test]
fn a_bad_key_is_named_and_not_shown() {
    let Some(shop) = shop() else { return };
    let rsa = std::process::Command::new("openssl")
        .args([
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
        ])
        .output()
        .unwrap();
    let rsa = String::from_utf8(rsa.stdout).unwrap();
    for (key, wanted) in [
        ("canary", "DNSEAL_ACCOUNT_KEY holds no key of an account"),
        (
            "-----BEGIN PRIVATE KEY-----\ncanary\n",
            "holds no key of an account",
        ),
        (&rsa, "a key of the kind RSA 2048"),
    ] {
        let run = shop
            .issue(&["example.test"])
            .env("DNSEAL_ACCOUNT_KEY", key)
            .run();
        assert_eq!(run.status.code(), Some(2), "{}", run.stderr);
        assert!(run.stderr.contains(wanted), "{}", run.stderr);
        assert!(
            run.stderr.contains("hint: `dnseal account"),
            "{}",
            run.stderr
        );
        assert!(!run.stderr.contains("canary"), "{}", run.stderr);
    }
    let run = shop
        .issue(&["example.test"])
        .env("DNSEAL_ACCOUNT_KEY_FILE", "/nowhere/key.pem")
        .run();
    assert_eq!(run.status.code(), Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("/nowhere/key.pem"), "{}", run.stderr);
    assert_eq!(shop.pebble.count("POST", "/sign-me-up"), 0);
}

//! BIND's own `dig` and `nsupdate` against the server. Skipped, with a line that says so, where they are not installed,
//! except in CI.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use super::*;

async fn run(program: &str, arguments: &[&str], input: &str) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{program}: {error}");
            eprintln!("skipped: {program} is not installed");
            return None;
        }
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    // The server runs on this thread, so the wait must not.
    let waiting = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap());
    Some(waiting.await.unwrap())
}

#[tokio::test]
async fn nsupdate_signs_with_every_algorithm() {
    for algorithm in [
        "hmac-sha1",
        "hmac-sha224",
        "hmac-sha256",
        "hmac-sha384",
        "hmac-sha512",
    ] {
        let secret = "dGhpcnR5LXR3byBvY3RldHMgb2Yga2V5IG1hdGVyaWFs";
        let key = format!("{algorithm}:acme:{secret}");
        let builder = DnsServer::builder()
            .zone(example())
            .key(key.parse().unwrap());
        let server = builder.start().await.unwrap();
        let script = format!(
            "server 127.0.0.1 {}\nzone example.test\nupdate add t.example.test 5 TXT \"two\"\n\
             update delete t.example.test TXT \"one\"\nsend\n",
            server.addr().port()
        );
        for transport in [&[][..], &["-v"]] {
            let arguments = [&["-y", &key], transport].concat();
            let Some(output) = run("nsupdate", &arguments, &script).await else {
                return;
            };
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{algorithm}: {errors}");
            assert_eq!(server.values("t.example.test"), ["two"]);
        }
        let wrong = format!("{algorithm}:acme:AAAA");
        let output = run("nsupdate", &["-y", &wrong], &script).await.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && errors.contains("BADSIG"),
            "{errors}"
        );
        server.set_clock_skew(3600);
        let output = run("nsupdate", &["-y", &key], &script).await.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && errors.contains("BADTIME"),
            "{errors}"
        );
    }
}

#[tokio::test]
async fn dig_understands_every_answer() {
    let zone = example()
        .txt("big.example.test", "x".repeat(3000))
        .dname("old.example.test", "example.test")
        .delegate("child.example.test", "ns.child.example.test")
        .a("ns.child.example.test", [192, 0, 2, 1].into());
    let server = start(zone).await;
    let port = server.addr().port().to_string();
    for (question, expected) in [
        (
            &["t.example.test", "TXT"][..],
            &[
                "flags: qr aa rd;",
                "status: NOERROR",
                "\"one\"",
                "udp: 1232",
            ][..],
        ),
        (&["big.example.test", "TXT"], &["(TCP)", "xxx"]),
        (
            &["t.old.example.test", "TXT"],
            &["DNAME\texample.test.", "CNAME\tt.example.test.", "\"one\""],
        ),
        (
            &["x.child.example.test", "A"],
            &["flags: qr rd;", "ns.child.example.test.", "192.0.2.1"],
        ),
        (
            &["no.example.test", "A"],
            &["status: NXDOMAIN", "hostmaster.example.test. 1 "],
        ),
        (&["example.org", "A"], &["status: REFUSED"]),
        (
            &["+tcp", "+noedns", "example.test", "ANY"],
            &["NS\tns1.example.test."],
        ),
        (
            &["+edns=1", "+noednsneg", "example.test", "SOA"],
            &["status: BADVERS"],
        ),
    ] {
        let arguments = [&["@127.0.0.1", "-p", &port], question].concat();
        let Some(output) = run("dig", &arguments, "").await else {
            return;
        };
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        for expected in expected {
            assert!(
                shown.contains(expected),
                "{question:?} lacks {expected}:\n{shown}"
            );
        }
        assert!(!shown.contains("malformed"), "{shown}");
    }
}

use std::path::Path;

use crate::config::Config;

fn error(deploy: &str) -> String {
    let text = format!("certificates:\n  a: {{ names: [a.test], deploy: [{deploy}] }}\n");
    Config::of(&text).unwrap_err().to_string()
}

#[test]
fn targets_are_checked() {
    let config = Config::of(
        "
deploy:
  - run: [systemctl, reload, nginx]
certificates:
  a:
    names: [a.test]
    access: { owner: 0, group: www, mode: \"0640\" }
    deploy:
      - files:
          key: { path: '/etc/x/{name}.key', mode: '0400' }
          fullchain: /etc/x/{name}.pem
        owner: haproxy
        shell: |
          echo one
          echo two
        timeout: 1m
        each: true
  b: { names: [b.test] }
hooks:
  pre: [{ run: [a, 'b c'] }]
  directory: hooks.d
  pass: [SSH_AUTH_SOCK]
",
    )
    .unwrap();
    assert_eq!(config.deploy[0].label, "systemctl reload nginx");
    let certificate = &config.certificates[0];
    assert_eq!(certificate.access.mode.unwrap().0, 0o640);
    assert_eq!(certificate.access.owner.as_deref(), Some("0"));
    let targets = certificate.deploy.as_ref().unwrap();
    assert_eq!(targets[0].label, "/etc/x/{name}.key");
    assert!(targets[0].each);
    assert_eq!(targets[0].files[0].access.mode.unwrap().0, 0o400);
    assert_eq!(targets[0].files[0].access.owner.as_deref(), Some("haproxy"));
    assert_eq!(targets[0].files[1].path, Path::new("/etc/x/{name}.pem"));
    let command = targets[0].command.as_ref().unwrap();
    assert_eq!(command.shown(), "echo one …");
    assert!(config.certificates[1].deploy.is_none());
    assert_eq!(config.hooks.pre[0].argv(), ["a", "b c"]);
    assert!(config.hooks.directory.is_some());
}

#[test]
fn what_is_wrong_is_said() {
    for (deploy, wanted) in [
        ("{}", "neither `files` nor a command"),
        ("{ run: [] }", "has no program"),
        ("{ run: [a], shell: b }", "`run` or `shell`, not both"),
        ("{ run: [a], timeout: 0 }", "within no time"),
        ("{ run: [a] }, { run: [a] }", "two targets `a`"),
        ("{ files: { key: '/a/{nam}' } }", "no placeholder `{nam}`"),
        ("{ files: { key: /a/../b } }", "no path of a file"),
        ("{ files: { key: /a/ } }", "no path of a file"),
        (
            "{ files: { key: /a, cert: /a } }",
            "two files are written to /a",
        ),
        (
            "{ files: { key: { path: /a, mode: 640 } } }",
            "such as \"0640\"",
        ),
        (
            "{ files: { key: { path: /a, mode: '0999' } } }",
            "such as \"0640\"",
        ),
        ("{ files: { kez: /a } }", "there is no key `kez` here"),
        ("{ files: { pkcs12: { path: /a } } }", "password"),
    ] {
        let message = error(deploy);
        assert!(message.contains(wanted), "{deploy}: {message}");
    }
}

#[test]
fn two_certificates_do_not_write_one_file() {
    let text = "
deploy: [{ files: { combined: '/etc/x.pem' } }]
certificates: { a: { names: [a.test] }, b: { names: [b.test] } }
";
    let error = Config::of(text).unwrap_err().to_string();
    assert!(
        error.contains("both a and b are written to /etc/x.pem"),
        "{error}"
    );
    Config::of(&text.replace("/x.pem", "/{name}.pem")).unwrap();
}

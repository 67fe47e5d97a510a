//! Which programs are run at all: none that others may have changed, none that has to be looked for.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use dnseal_providers::plugin::Plugins;
use dnseal_tests::{Misbehaving, PluginDir};

const SCRIPT: &str = include_str!("../../src/misbehaving.py");
const FILE: &str = "dnseal-provider-bad";

#[test]
fn what_others_may_change_is_not_run() {
    for (mode, of_directory) in [
        (0o777, false),
        (0o775, false),
        (0o757, false),
        (0o777, true),
    ] {
        let plugins = PluginDir::empty();
        let file = plugins.put(FILE, SCRIPT);
        let path = if of_directory { plugins.path() } else { &file };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let error = plugins.kind("bad").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("may be changed by others"),
            "{mode:o}: {text}"
        );
        assert!(text.contains(path.to_str().unwrap()), "{mode:o}: {text}");
        assert!(error.hint().unwrap().contains("chmod go-w"), "{error:?}");
    }
}

#[test]
fn what_a_link_leads_to_counts() {
    let (plugins, elsewhere) = (PluginDir::empty(), PluginDir::empty());
    let target = elsewhere.put("anything", SCRIPT);
    symlink(&target, plugins.path().join(FILE)).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o777)).unwrap();
    let error = plugins.kind("bad").unwrap_err();
    assert!(error.to_string().contains("anything"), "{error}");
}

#[test]
fn what_another_user_owns_is_not_run() {
    let plugins = PluginDir::empty();
    let file = plugins.put(FILE, SCRIPT);
    if chown(&file, Some(12345), None).is_err() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let error = plugins.kind("bad").unwrap_err();
    assert!(error.to_string().contains("user 12345 owns it"), "{error}");
}

#[test]
fn a_script_among_the_arguments_counts_as_the_program() {
    let plugin = Misbehaving::new("well-behaved");
    let command = plugin.command();
    fs::set_permissions(&command[2], fs::Permissions::from_mode(0o666)).unwrap();
    let error = plugin.kind().unwrap_err();
    assert!(error.to_string().contains("misbehaving.py"), "{error}");
}

#[test]
fn what_is_no_program_is_not_run() {
    let plugins = PluginDir::empty();
    let file = plugins.put(FILE, SCRIPT);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let error = plugins.kind("bad").unwrap_err();
    assert!(error.to_string().contains("is not executable"), "{error}");
    assert!(error.hint().unwrap().contains("chmod +x"), "{error:?}");

    fs::create_dir(plugins.path().join("dnseal-provider-dir")).unwrap();
    let error = plugins.kind("dir").unwrap_err();
    assert!(error.to_string().contains("is no file"), "{error}");

    plugins.put("dnseal-provider-rfc2136", SCRIPT);
    let error = plugins.kind("rfc2136").unwrap_err();
    assert!(error.to_string().contains("built in"), "{error}");
    plugins.put("dnseal-provider-nowhere", "#!/nowhere/interpreter\n");
    let error = plugins.kind("nowhere").unwrap_err();
    assert!(error.hint().unwrap().contains("installed"), "{error:?}");
    let scripts = [
        ("#!/bin/sh\r\nexit 0\r\n", "CR LF"),
        ("#!/usr/bin/env sh\r\nexit 0\r\n", "CR LF"),
        ("import json\n", "begins with `#!`"),
    ];
    for (script, part) in scripts {
        plugins.put("dnseal-provider-script", script);
        let error = plugins.kind("script").unwrap_err();
        let hint = error.hint().unwrap_or_default();
        assert!(hint.contains(part), "{error}: {hint}");
    }
}

#[test]
fn the_first_directory_wins_and_other_files_are_none() {
    let (one, two) = (PluginDir::empty(), PluginDir::empty());
    let (first, second) = (
        one.put("dnseal-provider-a", ""),
        two.put("dnseal-provider-b", ""),
    );
    two.put("dnseal-provider-a", "");
    two.put("dnseal-provider-UPPER", "");
    two.put("README", "");
    let plugins = Plugins::in_dirs([one.path(), two.path()].map(Into::into));
    assert_eq!(
        plugins.list(),
        [("a".to_owned(), first), ("b".to_owned(), second)]
    );
}

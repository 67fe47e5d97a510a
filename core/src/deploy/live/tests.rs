use super::*;

fn project(live: &Live, id: &CertId, version: u32) -> LiveFiles {
    let text = version.to_string();
    let bundle = Bundle {
        privkey: Some(&SecretString::from(format!("key {text}"))),
        cert: &text,
        chain: &text,
        fullchain: &text,
    };
    live.project(id, version, &bundle).unwrap()
}

#[test]
fn four_files_change_together() {
    let root = tempfile::tempdir().unwrap();
    let live = Live::new(&root.path().join("live")).unwrap();
    let id: CertId = "example.com".parse().unwrap();
    assert_eq!(live.current(&id).unwrap(), None);
    live.check().unwrap();
    let files = project(&live, &id, 1);
    // A server that opened the directory before the swap keeps what belongs together.
    let opened = std::fs::canonicalize(&files.directory).unwrap();
    project(&live, &id, 2);
    assert_eq!(live.current(&id).unwrap(), Some(2));
    assert_eq!(std::fs::read_to_string(opened.join(CERT)).unwrap(), "1");
    assert_eq!(std::fs::read_to_string(&files.cert).unwrap(), "2");
    assert_eq!(std::fs::read_to_string(&files.privkey).unwrap(), "key 2");
}

#[test]
fn five_versions_stay_and_neighbours_are_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let live = Live::new(root.path()).unwrap();
    let id: CertId = "a.test".parse().unwrap();
    let neighbour: CertId = "a.test.0001".parse().unwrap();
    project(&live, &neighbour, 1);
    for version in 1..=7 {
        project(&live, &id, version);
    }
    let versions = root.path().join(VERSIONS);
    let kept = std::fs::read_dir(&versions).unwrap().count();
    assert_eq!(kept, 6, "five of ours and one of the neighbour");
    live.remove(&id).unwrap();
    assert_eq!(live.current(&id).unwrap(), None);
    assert_eq!(live.current(&neighbour).unwrap(), Some(1));
}

#[cfg(unix)]
#[test]
fn owner_group_and_mode_are_chosen_or_kept() {
    use std::os::unix::fs::PermissionsExt;

    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("dir/live");
    let id: CertId = "a.test".parse().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let live = Live::new(&path).unwrap();
    let files = project(&live, &id, 1);
    set(&files.privkey, 0o640);
    set(&files.directory.canonicalize().unwrap(), 0o750);
    let files = project(&live, &id, 2);
    assert_eq!(mode(&files.privkey), 0o640, "kept");
    assert_eq!(mode(&files.directory), 0o750, "kept");

    let group = rustix::process::getegid().as_raw().to_string();
    let access = Access {
        group: Some(group),
        mode: Some(Mode(0o440)),
        owner: None,
    };
    let live = live
        .with_access_of(&id, access)
        .within(&root.path().join("dir"));
    let text = "2".to_owned();
    let key = SecretString::from("key 2");
    let bundle = Bundle {
        privkey: Some(&key),
        cert: &text,
        chain: &text,
        fullchain: &text,
    };
    assert!(!live.holds(&id, &bundle).unwrap(), "the mode is another");
    let files = project(&live, &id, 2);
    assert!(live.holds(&id, &bundle).unwrap());
    assert_eq!(mode(&files.privkey), 0o440);
    assert_eq!(mode(&files.cert), 0o644);
    assert_eq!(mode(&files.directory), 0o750);
    assert_eq!(mode(&path), 0o711, "passed through, not read");
    assert_eq!(mode(&root.path().join("dir")), 0o711);
    live.check().unwrap();
}

#[cfg(unix)]
#[test]
fn the_key_is_private_and_a_directory_of_others_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let root = tempfile::tempdir().unwrap();
    let live = Live::new(&root.path().join("live")).unwrap();
    let files = project(&live, &"a.test".parse().unwrap(), 1);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&files.privkey), 0o600);
    assert_eq!(mode(&files.directory), 0o700);
    std::fs::set_permissions(
        root.path().join("live"),
        std::fs::Permissions::from_mode(0o777),
    )
    .unwrap();
    assert!(live.check().is_err());
}

use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn writes_are_whole_and_follow_no_link() {
    let root = tempfile::tempdir().unwrap();
    let dir = Dir::open(&root.path().join("a/b"), Mode::PRIVATE_DIR).unwrap();
    assert!(dir.write_new("f", b"1", Mode::PRIVATE_FILE).unwrap());
    assert!(!dir.write_new("f", b"2", Mode::PRIVATE_FILE).unwrap());
    assert_eq!(dir.read("f").unwrap().unwrap(), b"1");
    dir.replace("f", b"3", Mode::PUBLIC_FILE).unwrap();
    assert_eq!(dir.read("f").unwrap().unwrap(), b"3");
    let mode = std::fs::metadata(root.path().join("a/b/f"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(dir.list().unwrap(), [("f".to_owned(), Kind::File)]);

    std::fs::write(root.path().join("outside"), "x").unwrap();
    std::os::unix::fs::symlink("../../outside", root.path().join("a/b/l")).unwrap();
    assert!(matches!(dir.read("l"), Err(FileError::Link { .. })));
    std::os::unix::fs::symlink("../..", root.path().join("a/b/d")).unwrap();
    assert!(matches!(
        dir.subdir("d", Mode::PRIVATE_DIR),
        Err(FileError::Link { .. })
    ));
    // Replacing puts a file where the link was and leaves what it pointed at.
    dir.replace("l", b"4", Mode::PRIVATE_FILE).unwrap();
    assert_eq!(std::fs::read(root.path().join("outside")).unwrap(), b"x");
    for bad in ["..", ".", "a/b", "/etc", ""] {
        assert!(dir.read(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn links_are_swapped_at_once_and_leftovers_are_tidied() {
    let root = tempfile::tempdir().unwrap();
    let dir = Dir::open(root.path(), Mode::PRIVATE_DIR).unwrap();
    assert_eq!(dir.read_link("l").unwrap(), None);
    dir.swap_link("l", "one").unwrap();
    dir.swap_link("l", "two").unwrap();
    assert_eq!(dir.read_link("l").unwrap().as_deref(), Some("two"));
    std::fs::write(root.path().join(temporary_name()), "half").unwrap();
    dir.tidy().unwrap();
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
}

#[test]
fn what_others_may_write_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let dir = Dir::open(root.path(), Mode::PRIVATE_DIR).unwrap();
    dir.check_private().unwrap();
    std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o770)).unwrap();
    assert!(matches!(dir.check_private(), Err(FileError::Unsafe { .. })));
}

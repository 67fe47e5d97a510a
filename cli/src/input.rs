//! Files that people name, read whole: signing requests, keys, roots, secrets, the configuration.
//!
//! A pipe is as good as a file (`--csr <(openssl req …)`), but neither one that nobody writes to nor a device without an
//! end holds up a run: there is a bound on the wait and one on the size.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use zeroize::Zeroizing;

/// All of the file at `path`, which may hold a secret.
pub(crate) fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    rest(open(path)?, LONGEST)
}

/// All of the file at `path`, which must be text.
pub(crate) fn read_text(path: &Path) -> io::Result<Zeroizing<String>> {
    text(&read(path)?)
}

/// Bytes that must be text.
pub(crate) fn text(bytes: &[u8]) -> io::Result<Zeroizing<String>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not text")),
    }
}

/// Opens a file to be read, without waiting for anybody to write to it.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
    );
    options.open(path)
}

/// What is in an open file; more than `at_most` octets are [`io::ErrorKind::FileTooLarge`].
pub(crate) fn rest(file: File, at_most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    rest_within(file, at_most, PATIENCE)
}

/// The same, waiting so long for whoever writes it.
pub(crate) fn rest_within(
    file: File,
    at_most: u64,
    patience: Duration,
) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut content = Zeroizing::new(Vec::new());
    let input = Input {
        file,
        patience,
        until: Instant::now() + patience,
    };
    input.take(at_most + 1).read_to_end(&mut content)?;
    if content.len() as u64 > at_most {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it holds more than {} KiB", at_most / 1024),
        ));
    }
    Ok(content)
}

/// A file that is read as long as something comes from it in time.
#[derive(Debug)]
struct Input {
    file: File,
    patience: Duration,
    until: Instant,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !ready(&self.file, self.until)? {
            let seconds = self.patience.as_secs();
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it is no plain file, and nobody has written all of it within {seconds}s"),
            ));
        }
        self.file.read(buffer)
    }
}

/// Whether there is something to read, or an end, before `until`.
#[cfg(unix)]
fn ready(file: &File, until: Instant) -> io::Result<bool> {
    use rustix::event::PollFd;
    use rustix::event::PollFlags;
    use rustix::event::Timespec;
    use rustix::io::Errno;

    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match rustix::event::poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&left)) {
            Ok(found) => return Ok(found > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it may fail")]
fn ready(_: &File, _: Instant) -> io::Result<bool> {
    Ok(true)
}

/// Larger than any chain, key or signing request.
const LONGEST: u64 = 1024 * 1024;
/// Whoever writes to a pipe may have to ask a server for it.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(all(test, unix))]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn neither_a_silent_pipe_nor_an_endless_device_holds_anybody_up() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let short = Duration::from_millis(20);
        let error = rest_within(open(&pipe).unwrap(), LONGEST, short).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge, "{error}");
        assert!(read(dir.path()).is_err());
    }

    #[test]
    fn a_pipe_is_as_good_as_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let writer = std::thread::spawn({
            let pipe = pipe.clone();
            move || {
                let mut pipe = OpenOptions::new().write(true).open(pipe).unwrap();
                for _ in 0..1000 {
                    pipe.write_all(&[b'x'; 100]).unwrap();
                }
            }
        });
        assert_eq!(read_text(&pipe).unwrap().len(), 100_000);
        writer.join().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "text").unwrap();
        assert_eq!(*read_text(&file).unwrap(), "text");
        std::fs::write(&file, [0xff]).unwrap();
        assert!(read_text(&file).is_err());
    }
}

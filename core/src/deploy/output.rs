//! The end of what a command said, which is where it says why it failed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;

/// The last bytes of a stream that may be endless.
#[derive(Debug, Default)]
pub(super) struct Tail(VecDeque<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let excess = self.0.len().saturating_sub(KEPT_BYTES);
        self.0.drain(..excess);
    }

    /// The last lines, without anything that would move a terminal.
    fn lines(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().copied().collect();
        let text: String = String::from_utf8_lossy(&bytes)
            .replace("\r\n", "\n")
            .chars()
            .map(|c| match c.is_control() && c != '\n' {
                true => ' ',
                false => c,
            })
            .collect();
        let mut lines: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
            .rev()
            .take(KEPT_LINES)
            .collect();
        lines.reverse();
        lines.join("\n")
    }
}

/// Reads until the end, or until this is dropped.
pub(super) async fn read(stream: Option<impl AsyncRead + Unpin>, tail: Arc<Mutex<Tail>>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        tail.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(&buffer[..count]);
    }
}

/// The last lines so far.
pub(super) fn lines(tail: &Mutex<Tail>) -> String {
    tail.lock().unwrap_or_else(PoisonError::into_inner).lines()
}

/// Enough for the lines below, and nothing for a command that prints for ever.
const KEPT_BYTES: usize = 8 * 1024;
/// What fits on a screen beside the error.
const KEPT_LINES: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_and_moves_no_terminal() {
        let mut tail = Tail::default();
        for n in 0..10_000 {
            tail.push(format!("line {n}\r\n\n").as_bytes());
        }
        tail.push(b"\x1b[31mred\xff");
        let lines = tail.lines();
        assert_eq!(lines.lines().count(), KEPT_LINES);
        assert!(lines.contains("line 9999"), "{lines}");
        assert!(lines.ends_with(" [31mred\u{fffd}"), "{lines}");
        assert!(tail.0.len() <= KEPT_BYTES);
    }
}

//! Looks for a secret in the arguments and the environment of every process on the machine, as long as it lives.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A look that goes on.
#[derive(Debug)]
pub struct Watch {
    ended: Arc<AtomicBool>,
    looking: thread::JoinHandle<Sighted>,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Sighted {
    /// How often all processes were looked at.
    pub looked: usize,
    /// Where the secret was: `cmdline` or `environ`, and all of it.
    pub places: BTreeSet<String>,
    /// Whether a process was seen that shows that the look was in time.
    pub witness: bool,
}

impl Watch {
    /// Begins to look for `secret`, and for a process with `witness` in its arguments or environment.
    pub fn begin(secret: &str, witness: &str) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let (until, secret, witness) = (ended.clone(), secret.to_owned(), witness.to_owned());
        let looking = thread::spawn(move || {
            let mut sighted = Sighted::default();
            while !until.load(Ordering::Relaxed) {
                sighted.look(&secret, &witness);
            }
            sighted
        });
        Self { ended, looking }
    }

    /// Ends it.
    ///
    /// # Panics
    ///
    /// When `/proc` could not be read.
    pub fn end(self) -> Sighted {
        self.ended.store(true, Ordering::Relaxed);
        self.looking.join().unwrap()
    }
}

impl Sighted {
    fn look(&mut self, secret: &str, witness: &str) {
        self.looked += 1;
        for process in fs::read_dir("/proc").unwrap().flatten() {
            for file in ["cmdline", "environ"] {
                let Ok(bytes) = fs::read(process.path().join(file)) else {
                    continue;
                };
                let text = String::from_utf8_lossy(&bytes);
                self.witness |= text.contains(witness);
                if text.contains(secret) {
                    self.places.insert(format!("{file}: {text}"));
                }
            }
        }
    }
}

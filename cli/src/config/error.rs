//! What is wrong with a configuration, and where.

use std::path::PathBuf;

use crate::config::Frame;
use crate::config::Source;

/// An error in the configuration file.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ConfigError {
    message: String,
    hint: Option<String>,
    path: PathBuf,
    frame: Option<Box<Frame>>,
}

impl ConfigError {
    /// About the file as a whole.
    pub(crate) fn whole(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            path: path.into(),
            frame: None,
        }
    }

    /// About what stands at this line and column of `source`.
    pub(crate) fn at(
        source: &Source,
        place: Option<(usize, usize)>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            frame: place
                .and_then(|(line, column)| Frame::new(source.text(), line, column).map(Box::new)),
            ..Self::whole(source.path(), message)
        }
    }

    /// The same, with what to do about it.
    pub(crate) fn with_hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }

    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    pub(crate) fn frame(&self) -> Option<&Frame> {
        self.frame.as_deref()
    }
}

/// The candidate nearest to `given`, if a slip of the keyboard explains the difference.
pub(crate) fn nearest<'a>(
    given: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let given = given.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&given, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= 1 + candidate.len() / 4 && distance * 2 < candidate.len()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

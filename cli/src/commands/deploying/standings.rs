//! How the targets of certificates stand on this machine, for `list` and `show`.

use dnseal_core::deploy::LocalState;
use dnseal_core::deploy::Snapshot;
use dnseal_core::deploy::Standing;
use dnseal_core::deploy::TargetState;
use dnseal_core::store::CertId;
use dnseal_core::store::Head;

use crate::commands::App;
use crate::error::CliError;
use crate::settings::Destinations;
use crate::settings::Passwords;

/// How the targets of certificates stand on this machine, read once.
#[derive(Debug)]
pub(in crate::commands) struct Standings<'a> {
    destinations: Destinations<'a>,
    snapshot: Snapshot,
}

impl<'a> Standings<'a> {
    pub(in crate::commands) fn read(app: &'a App) -> Result<Self, CliError> {
        Ok(Self {
            // What is wrong with the scripts is said by whoever wants to run them.
            destinations: Destinations::read(&app.config)
                .unwrap_or_else(|_| Destinations::without_scripts(&app.config)),
            snapshot: LocalState::new(&app.places.state()).load()?,
        })
    }

    /// Of one certificate; nothing where it was never issued or goes nowhere.
    pub(in crate::commands) fn of(&self, head: &Head) -> Result<Vec<TargetState>, CliError> {
        let Some(version) = &head.current else {
            return Ok(Vec::new());
        };
        let targets = self.destinations.targets(&head.id, Passwords::LeftAlone)?;
        let states = self.snapshot.deployment_state(&head.id, version, &targets);
        Ok(states)
    }

    /// What is not deployed, a line each, for people.
    pub(in crate::commands) fn notes(id: &CertId, states: &[TargetState]) -> String {
        let mut text = String::new();
        for state in states {
            let target = &state.target;
            match &state.standing {
                Standing::Altered { path } => {
                    let path = path.display();
                    text.push_str(&format!("{id}: somebody has changed or removed {path}\n"));
                }
                Standing::Deployed => {}
                Standing::Due => text.push_str(&format!("{id}: to be deployed to {target}\n")),
                Standing::Failed { error, .. } => {
                    let error = error.lines().next().unwrap_or_default();
                    text.push_str(&format!("{id}: not deployed to {target}: {error}\n"));
                }
            }
        }
        text
    }
}

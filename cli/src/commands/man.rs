//! `dnseal man [DIR]`.

use std::path::Path;

use clap::Command;
use clap::CommandFactory;
use clap::builder::Resettable;
use clap_mangen::Man;
use serde_json::json;

use crate::args::Cli;
use crate::error::CliError;
use crate::render::Report;
use crate::render::plural;

pub(super) fn run(dir: Option<&Path>) -> Result<Report, CliError> {
    let mut command = Cli::command();
    command.build();
    let Some(dir) = dir else {
        let (_, page) = page(command)?;
        let json = json!({ "page": page });
        return Ok(Report::new(page, json));
    };
    std::fs::create_dir_all(dir).map_err(CliError::io("make the directory", dir))?;
    let mut pages = Vec::new();
    write(command, dir, &mut pages)?;
    pages.sort();
    Ok(Report::new(
        format!("{} in {}", plural(pages.len(), "man page"), dir.display()),
        json!({ "directory": dir.display().to_string(), "pages": pages }),
    ))
}

/// The page of a command and those of the commands below it.
fn write(command: Command, dir: &Path, pages: &mut Vec<String>) -> Result<(), CliError> {
    for below in command
        .get_subcommands()
        .filter(|c| !c.is_hide_set() && c.get_name() != "help")
    {
        write(below.clone(), dir, pages)?;
    }
    let (name, page) = page(command)?;
    let path = dir.join(&name);
    std::fs::write(&path, page).map_err(CliError::io("write", path))?;
    pages.push(name);
    Ok(())
}

/// The name of a page's file, and the page: options from the arguments, examples as they are typed, and what all have.
fn page(command: Command) -> Result<(String, String), CliError> {
    let examples = command.get_after_help().map(ToString::to_string);
    let man = Man::new(command.after_help(Resettable::Reset));
    let mut page = Vec::new();
    man.render(&mut page)
        .map_err(CliError::io("render", man.get_filename()))?;
    let mut page = String::from_utf8_lossy(&page).into_owned();
    if let Some(examples) = examples {
        let examples = examples
            .trim_start_matches("Examples:\n")
            .trim_start_matches("Example:\n");
        page.push_str(&format!(
            ".SH EXAMPLES\n.nf\n{}.fi\n",
            unfilled(examples.trim_end())
        ));
    }
    page.push_str(COMMON);
    Ok((man.get_filename(), page))
}

/// Lines that stay as they are.
fn unfilled(text: &str) -> String {
    text.lines()
        .map(|line| {
            let line = line.replace('\\', "\\e").replace('-', "\\-");
            match line.starts_with(['.', '\'']) {
                true => format!("\\&{line}\n"),
                false => format!("{line}\n"),
            }
        })
        .collect()
}

/// What holds for every command.
const COMMON: &str = r#".SH ENVIRONMENT
Most flags have a variable, which stands beside them above. A flag beats its variable, a variable beats the configuration, and an empty variable is none.
The variables of each DNS provider are listed by \fBdnseal provider show\fR \fIKIND\fR.
.TP
\fBDNSEAL_SET\fR
Settings of the provider as \fB\-\-set\fR takes them, one a line.
.TP
\fBDNSEAL_EAB_KID\fR, \fBDNSEAL_EAB_HMAC_KEY\fR, \fBDNSEAL_EAB_HMAC_KEY_FILE\fR
The external account at the CA; also \fBACME_EAB_KID\fR and \fBACME_EAB_HMAC_KEY\fR.
.TP
\fBDNSEAL_ACCOUNT_KEY\fR, \fBDNSEAL_ACCOUNT_KEY_FILE\fR
The private key of the account, for runs whose store has none; it is written nowhere.
.TP
\fBDNSEAL_STORE_KEY\fR, \fBDNSEAL_STORE_KEY_FILE\fR
The age identity or passphrase of an encrypted store.
.TP
\fBDNSEAL_LOG\fR
What the libraries underneath trace on standard error, such as \fBdebug\fR.
.TP
\fBNO_COLOR\fR
Set to anything: no colour.
.SH FILES
.TP
\fI/etc/dnseal/dnseal.yaml\fR, \fI$XDG_CONFIG_HOME/dnseal/dnseal.yaml\fR
The configuration; the first one that is there.
.TP
\fI/var/lib/dnseal\fR, \fI$XDG_STATE_HOME/dnseal\fR
The store, and \fIlive/NAME/{privkey,cert,chain,fullchain}.pem\fR. The second for users who may not write to the first.
.SH "EXIT STATUS"
.nf
0    done; also when a fresh certificate was kept
1    a bug, or a failure without a number of its own
2    wrong arguments or configuration
3    some certificates failed and others did not
4    the DNS provider refused, failed or could not be reached
5    the values were not at every name server in time
6    the CA refused, could not be reached, or could not validate a name
7    rate limited, or told to come later
8    issued and stored, but not in place on this machine
9    another run holds the lock
130  stopped by Ctrl\-C
143  stopped by SIGTERM
.fi
"#;

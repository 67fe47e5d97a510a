//! One module a command: each takes checked arguments and gives a [`Report`], or says why not.

mod account;
mod after;
mod again;
mod batch;
mod completions;
mod delete;
mod demo;
mod deploy;
mod deploying;
mod dns;
mod doctor;
mod issue;
mod list;
mod man;
mod notices;
mod notify;
mod provider;
mod reason;
mod rehearsal;
mod renew;
mod report;
mod revoke;
mod run;
mod sandbox;
mod schema;
mod show;
mod standing;
mod store;
pub(crate) mod work;

use dnseal_core::deploy::Live;

use crate::args::Cli;
use crate::args::Command;
use crate::args::GlobalArgs;
use crate::args::NotifyCommand;
use crate::args::ProviderCommand;
use crate::config::Config;
use crate::error::CliError;
use crate::render::Printer;
use crate::render::Report;
use crate::settings;
use crate::settings::Places;

/// What commands work with that touch the store.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) global: GlobalArgs,
    pub(crate) places: Places,
    pub(crate) printer: Printer,
}

impl App {
    fn new(global: GlobalArgs, printer: Printer) -> Result<Self, CliError> {
        let config = settings::config(&global)?;
        let places = Places::new(&global, &config)?;
        Ok(Self {
            config,
            global,
            places,
            printer,
        })
    }
}

impl App {
    /// The files that servers read.
    fn live(&self) -> Result<Live, CliError> {
        let mut live = Live::new(&self.places.live)?.with_access(self.config.access.clone());
        if !self.places.has_live_keys()? {
            live = live.without_keys();
        }
        if self.places.live == self.places.local.join("live") {
            live = live.within(&self.places.local);
        }
        for certificate in &self.config.certificates {
            if !certificate.access.is_empty() {
                live = live.with_access_of(&certificate.id, certificate.access.clone());
            }
        }
        Ok(live)
    }
}

/// Does what the command line says.
pub(crate) async fn run(cli: Cli, printer: Printer) -> Result<Report, CliError> {
    let app = || App::new(cli.global.clone(), printer);
    match cli.command {
        Command::Deploy(args) => deploy::run(&app()?, &args).await,
        Command::Demo(args) => demo::run(&cli.global, printer, &args).await,
        Command::Issue(args) => issue::run(&app()?, &args).await,
        Command::Renew(args) => renew::run(&app()?, &args).await,
        Command::List => list::run(&app()?).await,
        Command::Show(args) => show::run(&app()?, &args.name).await,
        Command::Delete(args) => delete::run(&app()?, &args).await,
        Command::Revoke(args) => revoke::run(&app()?, &args).await,
        Command::Account(args) => account::run(&app()?, args.command).await,
        Command::Dns(args) => dns::run(&app()?, args.command).await,
        Command::Doctor(args) => doctor::run(&app()?, &args).await,
        Command::Provider(args) => match args.command {
            ProviderCommand::List { acme_sh: None } => provider::list(&cli.global),
            ProviderCommand::List {
                acme_sh: Some(home),
            } => provider::scripts(&home),
            ProviderCommand::Show { kind, set } => provider::show(&cli.global, &kind, &set),
            ProviderCommand::Test(args) => provider::test::run(&app()?, &args).await,
        },
        Command::Notify(args) => match args.command {
            NotifyCommand::Test => notify::test(&app()?).await,
        },
        Command::Report => report::run(&cli.global, printer).await,
        Command::Run(args) => run::run(&cli.global, printer, &args).await,
        Command::Store(args) => store::run(&app()?, args.command).await,
        Command::Sandbox(args) => sandbox::run(printer, &args).await,
        Command::Completions(args) => Ok(completions::run(args.shell)),
        Command::Man(args) => man::run(args.dir.as_deref()),
        Command::Schema => Ok(schema::run()),
    }
}

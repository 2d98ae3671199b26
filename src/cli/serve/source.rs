//! The configuration of a running `larder serve`: read at the start, and again whenever a reload asks for it.
//!
//! The flags beat the file each time. Which file it is was settled at the start: one that vanishes meanwhile is a problem,
//! and not a reason to go on with the defaults.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::ServeArgs;
use super::logging::Level;
use crate::admin::ConfigFault;
use crate::cli::file::DEFAULT_FILE;
use crate::config::{self, Flags, Settings};
use crate::server;

/// Where the configuration comes from.
pub(super) struct Configuration {
    /// The file; `None`: there was none, only flags.
    pub(super) file: Option<PathBuf>,
    flags: Flags,
}

impl Configuration {
    /// Settles which file is read.
    pub(super) fn of(args: &ServeArgs) -> Self {
        Self { file: args.file.path().map(PathBuf::from), flags: args.flags() }
    }

    /// Reads and checks it.
    ///
    /// # Errors
    /// A file that cannot be read, or everything that is wrong in it.
    pub(super) fn load(&self) -> Result<Settings, config::Error> {
        match &self.file {
            Some(path) => config::load(path, &self.flags),
            None => Ok(config::parse("the command line", "", &self.flags)?),
        }
    }

    /// Makes what a reload asks; `running` is what Larder was started with, `level` is set to what the file says.
    pub(super) fn source(self: &Arc<Self>, running: Settings, level: Level) -> server::ConfigSource {
        let configuration = Arc::clone(self);
        Box::new(move || {
            let fresh = configuration.load().map_err(|error| configuration.faults(&error))?;
            let Some(config) = fresh.assemble() else { return Err(vec![configuration.no_origin()]) };
            let mut needs_restart = fresh.needs_restart(&running);
            if configuration.file.is_none() && Path::new(DEFAULT_FILE).exists() {
                needs_restart
                    .push(format!("`{DEFAULT_FILE}` was not there at the start, and is read after a restart."));
            }
            let (level, log) = (level.clone(), fresh.log);
            Ok(server::NewConfig { config, needs_restart, in_force: Box::new(move || level.set(&log)) })
        })
    }

    fn name(&self) -> String {
        self.file.as_ref().map_or_else(String::new, |file| file.display().to_string())
    }

    fn no_origin(&self) -> ConfigFault {
        ConfigFault {
            file: self.name(),
            line: None,
            key: "origin.url".to_owned(),
            what: "it is not set".to_owned(),
            allowed: "the address of the app, such as \"http://127.0.0.1:3000\"".to_owned(),
        }
    }

    fn faults(&self, error: &config::Error) -> Vec<ConfigFault> {
        let file = self.name();
        match error {
            config::Error::Unreadable { .. } => {
                let allowed = "a file that can be read, in UTF-8".to_owned();
                vec![ConfigFault { file, line: None, key: String::new(), what: error.to_string(), allowed }]
            }
            config::Error::Wrong(problems) => {
                let list = problems.list().iter().map(|problem| ConfigFault {
                    file: file.clone(),
                    line: problems.line(problem),
                    key: problem.key.clone(),
                    what: problem.what.clone(),
                    allowed: problem.allowed.clone(),
                });
                list.collect()
            }
        }
    }
}

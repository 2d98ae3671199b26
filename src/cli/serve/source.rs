//! The configuration of a running `larder serve`: read at startup, and again on each reload.
//!
//! The flags override the file each time. Startup settles which file is read: if that file
//! disappears, a reload reports a problem instead of using the defaults.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::ServeArgs;
use super::logging::Level;
use crate::admin::ConfigFault;
use crate::cli::file::DEFAULT_FILE;
use crate::config::{self, Flags, Settings};
use crate::server;

/// The source of the configuration.
pub(super) struct Configuration {
    /// The file; `None` if there was none, only flags.
    pub(super) file: Option<PathBuf>,
    flags: Flags,
}

impl Configuration {
    /// Settles which file is read.
    pub(super) fn of(args: &ServeArgs) -> Self {
        Self { file: args.file.path().map(PathBuf::from), flags: args.flags() }
    }

    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// A file that cannot be read, or everything that is wrong in it.
    pub(super) fn load(&self) -> Result<Settings, config::Error> {
        match &self.file {
            Some(path) => config::load(path, &self.flags),
            None => Ok(config::parse("the command line", "", &self.flags)?),
        }
    }

    /// Makes the function that a reload calls. `running` are the settings at startup; the function
    /// sets `level` to the one in the file.
    pub(super) fn source(self: &Arc<Self>, running: Settings, level: Level) -> server::ConfigSource {
        let configuration = Arc::clone(self);
        Box::new(move || {
            let fresh = configuration.load().map_err(|error| configuration.faults(&error))?;
            let Some(config) = fresh.assemble() else { return Err(vec![configuration.no_origin()]) };
            let mut needs_restart = fresh.needs_restart(&running);
            if configuration.file.is_none() && Path::new(DEFAULT_FILE).exists() {
                needs_restart
                    .push(format!("`{DEFAULT_FILE}` did not exist at startup; Larder reads it after a restart."));
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
            what: "not set".to_owned(),
            allowed: "the address of the app, such as \"http://127.0.0.1:3000\"".to_owned(),
        }
    }

    fn faults(&self, error: &config::Error) -> Vec<ConfigFault> {
        let file = self.name();
        match error {
            config::Error::Unreadable { .. } => {
                let allowed = "a readable file in UTF-8".to_owned();
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

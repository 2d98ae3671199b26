//! `--config`: which file the configuration is read from.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{self, Flags, Settings};

/// The file that is read when no `--config` is given, if it exists.
pub(super) const DEFAULT_FILE: &str = "config.toml";

/// The flag that names the configuration.
#[derive(Args, Clone, Debug)]
pub(super) struct FileArgs {
    /// The configuration [default: config.toml in the working folder, where there is one]
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl FileArgs {
    /// Returns the file to read; `None` where none was named and there is none.
    pub(super) fn path(&self) -> Option<&Path> {
        let default = Path::new(DEFAULT_FILE);
        self.config.as_deref().or_else(|| default.exists().then_some(default))
    }

    /// Reads and checks the configuration; `flags` beat the file.
    pub(super) fn load(&self, flags: &Flags) -> Result<Settings, config::Error> {
        match self.path() {
            Some(path) => config::load(path, flags),
            None => Ok(config::parse("the command line", "", flags)?),
        }
    }
}

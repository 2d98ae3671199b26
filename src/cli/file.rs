//! `--config`: which file the configuration is read from.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{self, Flags, Settings};

/// The file that is read when no `--config` is given, if it exists.
pub(super) const DEFAULT_FILE: &str = "config.toml";

/// The flag that names the configuration.
#[derive(Args, Clone, Debug)]
pub(super) struct FileArgs {
    /// Configuration file [default: ./config.toml, if it exists]
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl FileArgs {
    /// Returns the file to read; `None` if none was named and there is no `config.toml`.
    pub(super) fn path(&self) -> Option<&Path> {
        let default = Path::new(DEFAULT_FILE);
        self.config.as_deref().or_else(|| default.exists().then_some(default))
    }

    /// Reads and checks the configuration; `flags` override the file.
    pub(super) fn load(&self, flags: &Flags) -> Result<Settings, config::Error> {
        match self.path() {
            Some(path) => config::load(path, flags),
            None => Ok(config::parse("the command line", "", flags)?),
        }
    }
}

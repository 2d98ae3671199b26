//! The flags of `larder serve`, which override the configuration.

use std::net::SocketAddr;

use clap::Args;

use crate::cli::file::FileArgs;
use crate::config::{AdminListen, Flags, OriginUrl};

/// The flags of `larder serve`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ServeArgs {
    #[command(flatten)]
    pub(super) file: FileArgs,
    /// The app behind Larder, such as http://127.0.0.1:3000
    #[arg(short, long, value_name = "URL")]
    origin: Option<OriginUrl>,
    /// Where clients connect [default: 127.0.0.1:8080]
    #[arg(short, long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Admin address, or "off" [default: 127.0.0.1:9180]
    #[arg(short, long, value_name = "ADDR", value_parser = admin_listen)]
    admin: Option<AdminListen>,
    /// Replace the running Larder without dropping connections (needs `server.upgrade_socket`)
    #[arg(long)]
    pub(super) takeover: bool,
}

/// Parses the value of `--admin`.
fn admin_listen(text: &str) -> Result<AdminListen, String> {
    match text {
        "off" => Ok(AdminListen::Off),
        _ => text
            .parse()
            .map(AdminListen::At)
            .map_err(|_| format!("{text:?} is not an IP address with a port, such as 127.0.0.1:9180, or \"off\"")),
    }
}

impl ServeArgs {
    pub(super) fn flags(&self) -> Flags {
        Flags { listen: self.listen, origin: self.origin.clone(), admin: self.admin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    use crate::cli::args::{Cli, Command};

    fn serve_args(line: &str) -> Result<ServeArgs, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|cli| match cli.command {
            Command::Serve(args) => args,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn flags_of_serve_override_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        std::fs::write(&file, "listen = \"127.0.0.1:1\"\norigin.url = \"http://a\"\nadmin.listen = \"off\"\n").unwrap();
        let check = |flags: &str, listen: &str, origin: &str, admin: Option<&str>| {
            let args = serve_args(&format!("larder serve --config {}{flags}", file.display())).unwrap();
            let checked = args.file.load(&args.flags()).unwrap();
            assert_eq!(checked.listen, listen.parse().unwrap());
            assert_eq!(checked.origin.url.unwrap().authority(), origin);
            assert_eq!(checked.admin.listen, admin.map(|addr| addr.parse().unwrap()));
        };
        check("", "127.0.0.1:1", "a:80", None);
        check(" --listen [::1]:2", "[::1]:2", "a:80", None);
        check(" --origin http://b:3000", "127.0.0.1:1", "b:3000", None);
        check(" --admin 127.0.0.1:3", "127.0.0.1:1", "a:80", Some("127.0.0.1:3"));
    }

    #[test]
    fn unreadable_flags_say_what_is_allowed() {
        let check = |line: &str, part: &str| {
            let error = serve_args(line).expect_err(line).to_string();
            assert!(error.contains(part), "{error}");
        };
        check("larder serve --origin 127.0.0.1:3000", "did you mean \"http://127.0.0.1:3000\"?");
        check("larder serve --origin https://app", "not available in this version");
        check("larder serve --admin here", "127.0.0.1:9180");
        check("larder serve --listen 8080", "--listen <ADDR>");
    }

    #[test]
    fn a_named_file_must_exist() {
        let args = serve_args("larder serve -c /nonexistent/a.toml").unwrap();
        let error = args.file.load(&args.flags()).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /nonexistent/a.toml"), "{error}");
    }
}

//! `macwatch hash-password`: from a password to what the web configuration holds.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::task::spawn_blocking;

use super::shutdown::Shutdown;
use super::{Failure, cannot, written};
use crate::cli::HashPasswordArgs;
use crate::config::HashPassword;
use crate::web::config;

/// Longest line that is read: bcrypt takes 72 bytes.
const MOST_BYTES: u64 = 4096;

pub(super) async fn run(args: &HashPasswordArgs) -> Result<(), Failure> {
    let HashPassword { user, cost } = args.try_into()?;
    let password = if io::stdin().is_terminal() { typed().await? } else { line()? };
    let hash = config::hash(&password, cost).map_err(Failure::Cannot)?;
    let text = match user {
        Some(user) => format!("{}: {hash}\n", quoted(&user)),
        None => format!("{hash}\n"),
    };
    written(io::stdout().lock().write_all(text.as_bytes()))
}

/// The password from whoever sits there; who gives up with Ctrl-C finds the terminal as it was.
async fn typed() -> Result<Vec<u8>, Failure> {
    let mut shutdown = Shutdown::listen().map_err(cannot("handle signals"))?;
    let quiet = Quiet::begin().map_err(cannot("keep the terminal from showing the password"))?;
    tokio::select! {
        typed = spawn_blocking(twice) => {
            typed.map_err(io::Error::other).map_err(cannot("read the password")).flatten()
        }
        (_, number) = shutdown.next() => {
            drop(quiet);
            // The prompt's line is not finished. On the spot: the other thread still waits for its line.
            let _ = io::stderr().write_all(b"\n");
            std::process::exit(128 + number);
        }
    }
}

fn twice() -> Result<Vec<u8>, Failure> {
    let first = ask("Password: ")?;
    if ask("Again: ")? != first {
        return Err(Failure::Cannot("the two passwords differ; nothing was hashed".to_owned()));
    }
    Ok(first)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        // It still shows that a line has ended.
        quiet.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

fn ask(prompt: &str) -> Result<Vec<u8>, Failure> {
    let mut out = io::stderr();
    // Whoever does not see the question may still answer it.
    let _ = out.write_all(prompt.as_bytes()).and_then(|()| out.flush());
    line()
}

/// A line of stdin without its end.
fn line() -> Result<Vec<u8>, Failure> {
    let mut line = Vec::new();
    let mut input = io::stdin().lock().take(MOST_BYTES);
    input.read_until(b'\n', &mut line).map_err(cannot("read the password"))?;
    if line.ends_with(b"\n") {
        line.pop();
        if line.ends_with(b"\r") {
            line.pop();
        }
    }
    Ok(line)
}

/// A name as a key of YAML: as it is where nothing in it has a meaning.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let word = name.starts_with(|c: char| c.is_ascii_alphabetic());
    // The toolkit reads these as truth values and nothing, and text is meant.
    let meant = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    if word && name.chars().all(plain) && !meant.contains(&name.to_ascii_lowercase().as_str()) {
        return name.to_owned();
    }
    serde_json::Value::from(name).to_string()
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn names_are_quoted_where_they_must() {
        for (name, expected) in [
            ("prometheus", "prometheus"),
            ("a-b_c.d", "a-b_c.d"),
            ("No", "\"No\""),
            ("12", "\"12\""),
            ("a: b", "\"a: b\""),
            ("a\"b", "\"a\\\"b\""),
            ("", "\"\""),
        ] {
            assert_eq!(quoted(name), expected);
        }
    }
}

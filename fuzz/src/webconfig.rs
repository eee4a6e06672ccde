//! Web configurations, with the two files that they may name.

use std::path::Path;

use macwatch::web::config::Read;

/// Most faults that are asked for.
const MOST: usize = 20;

/// Faults have their lines; without any it says the same each time, and nobody is let in who has no hash, nor is anything
/// encrypted without a certificate.
pub fn holds(input: &[u8]) {
    let read = of(input, files);
    for warning in &read.warnings {
        super::place(warning.place.line, input);
        super::readable(&warning.to_string());
    }
    match read.checked() {
        Err(faults) => super::told(faults, input, MOST),
        Ok(()) => {
            super::readable(&read.summary);
            assert_eq!(of(input, files).summary, read.summary);
            let number = read.summary.split(", ").find_map(|part| part.strip_suffix(" users")?.parse().ok());
            let users = number.unwrap_or(usize::from(read.summary.contains("1 user")));
            let text = String::from_utf8_lossy(input);
            // With an alias one hash is several users'.
            assert!(
                users <= text.matches("$2").count() || text.contains('*') || escaped(&text),
                "{}",
                read.summary
            );
        }
    }
    let without = of(input, |_| Err("there is no such file".to_owned()));
    let plain = without.checked().is_err() || without.summary.starts_with("no TLS");
    let text = String::from_utf8_lossy(input);
    assert!(plain || text.contains("BEGIN") || escaped(&text), "{}", without.summary);
}

/// In double quotes a letter may be written as a number.
fn escaped(text: &str) -> bool {
    text.contains('\\')
}

fn of(input: &[u8], open: fn(&Path) -> Result<Vec<u8>, String>) -> Read {
    Read::of(Path::new(super::FILE), Ok(input.to_vec()), MOST, open)
}

fn files(path: &Path) -> Result<Vec<u8>, String> {
    match path.to_str() {
        Some("cert.pem") => Ok(include_bytes!("../pki/cert.pem").to_vec()),
        Some("key.pem") => Ok(include_bytes!("../pki/key.pem").to_vec()),
        _ => Err("there is no such file".to_owned()),
    }
}

//! State files: as they are, and with a right end, which nobody finds by chance.

use macwatch::state::examine::examine;
use macwatch::state::format::{self, Fault};
use macwatch::state::store::Store;
use macwatch::state::{Content, Entry};

/// What is read is what would be written; what is not read is told, each fault with its line; a file that is cut
/// off or has another bit is never taken for a whole one.
pub fn holds(input: &[u8]) {
    any(input);
    let body = match input.strip_suffix(b"\n") {
        Some(_) => input.to_vec(),
        None => [input, b"\n"].concat(),
    };
    let mut crc = flate2::Crc::new();
    crc.update(&body);
    let lines = body.iter().filter(|byte| **byte == b'\n').count();
    let end = format!("end {} {:08x}\n", lines.saturating_sub(2), crc.sum());
    let sealed = [&body, end.as_bytes()].concat();
    any(&sealed);
    if format::read(&sealed).is_ok() {
        let cut = crc.sum() as usize % sealed.len();
        assert!(matches!(format::read(&sealed[..cut]), Err(Fault::Damaged(_))), "cut after {cut}");
        any(&sealed[..cut]);
        let mut changed = sealed;
        changed[cut] ^= 1 << (crc.sum() % 7);
        assert!(format::read(&changed).is_err(), "another bit in byte {cut}");
        any(&changed);
    }
}

fn any(bytes: &[u8]) {
    let mut faults = 0;
    let examined = examine(bytes, |line, what| {
        super::place(line, bytes);
        super::readable(&what);
        faults += 1;
    });
    let read = format::read(bytes);
    assert_eq!((examined.as_ref(), faults == 0), (read.as_ref().ok(), read.is_ok()));
    match read {
        Ok(content) => written_again(content),
        Err(fault) => super::readable(&fault.to_string()),
    }
}

/// In the memory nothing is lost but what is there twice.
fn written_again(content: Content) {
    assert_eq!(format::read(&format::write(&content)).as_ref(), Ok(&content));
    let mut store = Store::default();
    store.merge(content.entries.clone());
    assert!(store.len() <= content.entries.len());
    for Entry { interface, mac, seen } in &content.entries {
        let kept = store.find(interface, *mac).unwrap();
        assert!(kept.first_unix_ms <= seen.first_unix_ms && kept.last_unix_ms >= seen.last_unix_ms);
    }
    let memory = Content { created_unix_ms: content.created_unix_ms, entries: store.entries() };
    assert_eq!(memory.entries.len(), store.len());
    assert_eq!(format::read(&format::write(&memory)), Ok(memory));
    store.prune(u64::MAX, |_| true);
    assert!(store.is_empty());
}

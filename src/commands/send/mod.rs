//! `macwatch send`: a few frames from a MAC of one's choice, to see whether the alarm rings.
//!
//! What was sent and what to expect of it goes to stdout, the warning to stderr.

mod expect;
mod frame;

use std::cell::Cell;
use std::io::{self, Write as _};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::shutdown::Shutdown;
use super::time::clock_time;
use super::{Failure, cannot, drop_privileges, follow, list, written};
use crate::cli::SendArgs;
use crate::clock::Moment;
use crate::config::Drill;
use crate::interface::card::{Card, card};
use crate::interface::{self, Interface, shown};
use crate::privileges::{self, NEEDED};
use crate::sender::Sender;

/// How long the last lines may take to be printed.
const LAST_LINES: Duration = Duration::from_secs(2);

const WARNING: &str =
    "macwatch: warning: a switch with port security may shut the port that a strange MAC appears on";

pub(super) async fn run(args: &SendArgs) -> Result<(), Failure> {
    let drill = Drill::try_from(args)?;
    let shutdown = Shutdown::listen().map_err(cannot("handle signals"))?;
    let interfaces = list(&mut follow()?).await?;
    let interface = find(&interfaces, &drill.interface)?;
    if let Some(why) = refusal(interface, &card(interface), drill.yes) {
        return Err(Failure::Cannot(format!("cannot send on {}: {why}", shown(&interface.name))));
    }
    let mut sender =
        Sender::open(&interface.for_pnet()).map_err(|error| Failure::Cannot(privileges::explain(&error)))?;
    drop_privileges(NEEDED)?;

    // Without stderr there is nobody to warn.
    drop(writeln!(io::stderr(), "{WARNING}"));
    let sent = Cell::new(0);
    let stopped = tokio::select! {
        result = send(&drill, interface, &mut sender, &sent) => {
            result?;
            false
        }
        () = shutdown.asked() => true,
    };
    let text = expect::tell(&drill, interface, &interfaces, sent.get());
    // A reader who has stopped reading must not hold up the end.
    match tokio::time::timeout(LAST_LINES, print(text)).await {
        Ok(result) => result,
        Err(_) if stopped => Ok(()),
        Err(_) => Err(Failure::Cannot("nobody reads stdout: ended without the last lines".to_owned())),
    }
}

/// The interface of this name, or with this as another of its names.
fn find<'a>(interfaces: &'a [Interface], name: &str) -> Result<&'a Interface, Failure> {
    let by_name = interfaces.iter().find(|interface| interface.name == name);
    let by_other = || interfaces.iter().find(|interface| interface.other_names.iter().any(|one| one == name));
    by_name.or_else(by_other).ok_or_else(|| {
        let exist = match interface::names(interfaces) {
            names if names.is_empty() => "there is none that frames can be sent on".to_owned(),
            names => format!("there are: {names}"),
        };
        Failure::Cannot(format!("cannot send on {name}: no such interface; {exist}"))
    })
}

/// Why nothing is sent, if that is so, and what helps.
fn refusal(interface: &Interface, card: &Card, yes: bool) -> Option<String> {
    if let Some(unfit) = interface.unfit() {
        return Some(format!("{unfit}; `macwatch interfaces` lists all"));
    }
    let name = shown(&interface.name);
    if !interface.up {
        return Some(format!("it is down; `ip link set {name} up` changes that"));
    }
    // The kernel would swallow the frames without an error.
    if !interface.carrier {
        return Some("it has no carrier: nothing is attached that could hear".to_owned());
    }
    let where_to = match card {
        _ if yes => return None,
        Card::None => return None,
        Card::Named(card) if *card == interface.name => "frames leave this machine through it".to_owned(),
        Card::Named(card) => format!("frames leave this machine through {}", shown(card)),
        Card::Untold => "/sys does not tell whether frames leave this machine through it".to_owned(),
    };
    Some(format!(
        "{where_to}, and a switch with port security may shut the port that a strange MAC appears on; if that is \
         fine, add --yes"
    ))
}

/// Sends all frames, and tells of each.
async fn send(
    drill: &Drill,
    interface: &Interface,
    sender: &mut Sender,
    sent: &Cell<u32>,
) -> Result<(), Failure> {
    let zone = TimeZone::system();
    let Drill { source, destination, count, .. } = *drill;
    let name = shown(&interface.name);
    for number in 1..=count {
        if number > 1 {
            tokio::time::sleep(drill.interval).await;
        }
        let frame = frame::test_frame(source, destination, number, count);
        sender.send(&frame).map_err(cannot(format!("send frame {number} of {count} on {name}")))?;
        sent.set(number);
        let time = clock_time(Moment::now().unix_ms, &zone);
        print(format!("{time}  {name:<8}  {source} > {destination}  {} bytes\n", frame.len())).await?;
    }
    Ok(())
}

/// Writes to stdout on another thread: one that nobody reads would hold up a signal here. When it is closed the
/// frames matter all the same.
async fn print(text: String) -> Result<(), Failure> {
    let writing = tokio::task::spawn_blocking(move || {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    });
    written(writing.await.unwrap_or_else(|error| Err(io::Error::other(error))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::fixture::ethernet;

    #[test]
    fn asks_before_frames_leave_the_machine() {
        let eth0 = ethernet(2, "eth0");
        let card = || Card::Named("eth0".to_owned());
        for card in [card(), Card::Untold] {
            let why = refusal(&eth0, &card, false).unwrap();
            assert!(why.contains("port security") && why.ends_with("add --yes"), "{why}");
            assert!(!why.contains('\n'), "{why}");
            assert_eq!(refusal(&eth0, &card, true), None);
        }
        assert_eq!(refusal(&eth0, &Card::None, false), None);
        assert!(refusal(&ethernet(3, "br0"), &card(), false).unwrap().contains("through eth0"));
        // A terminal does not act on a name.
        let why = refusal(&eth0, &Card::Named("e\x1b[31mX".to_owned()), false).unwrap();
        assert!(why.contains("through e\\u{1b}[31mX,"), "{why}");
    }

    #[test]
    fn refuses_what_would_not_be_heard() {
        for (interface, part) in [
            (Interface { loopback: true, ..ethernet(1, "lo") }, "loopback"),
            (Interface { hardware: 65_534, ..ethernet(2, "tun0") }, "no Ethernet header"),
            (Interface { up: false, carrier: false, ..ethernet(2, "eth0") }, "ip link set eth0 up"),
            (Interface { carrier: false, ..ethernet(2, "eth0") }, "no carrier"),
        ] {
            let why = refusal(&interface, &Card::None, true).unwrap();
            assert!(why.contains(part), "{why}");
        }
    }

    #[test]
    fn finds_an_interface_by_any_of_its_names() {
        let eth0 = Interface { other_names: vec!["enp3s0".to_owned()], ..ethernet(2, "eth0") };
        let interfaces = [Interface { loopback: true, ..ethernet(1, "lo") }, eth0];
        for name in ["eth0", "enp3s0"] {
            assert_eq!(find(&interfaces, name).unwrap().index, 2);
        }
        let told = |interfaces| find(interfaces, "eth1").unwrap_err().to_string();
        assert_eq!(told(&interfaces), "cannot send on eth1: no such interface; there are: eth0");
        assert!(told(&interfaces[..1]).ends_with("there is none that frames can be sent on"));
    }
}

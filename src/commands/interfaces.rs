//! `macwatch interfaces`: which interfaces there are, and of each why it is or is not watched. One that is named and
//! cannot be watched is a failure, as it would be of the exporter.

use std::io::{self, Write};

use super::{Failure, all_fit, follow, list, real_name, written};
use crate::cli::InterfacesArgs;
use crate::interface::select::{Selection, Verdict};
use crate::interface::{Interface, shown};

pub(super) async fn run(args: &InterfacesArgs) -> Result<(), Failure> {
    let selection = Selection::try_from(&args.interfaces)?;
    let interfaces = list(&mut follow()?).await?;
    written(print(&mut io::stdout().lock(), &interfaces, &selection))?;
    all_fit(&selection, &interfaces)
}

fn print(out: &mut impl Write, interfaces: &[Interface], selection: &Selection) -> io::Result<()> {
    let missing = selection.literals().filter(|name| !interfaces.iter().any(|i| i.name == *name));
    let missing: Vec<&str> = missing.collect();
    let names = interfaces.iter().map(|i| i.name.as_str()).chain(missing.iter().copied());
    let width = names.map(|name| shown(name).len()).max().unwrap_or(0).max("NAME".len());
    writeln!(out, "{:width$}  INDEX  {:17}  STATE   WATCHED  WHY", "NAME", "MAC")?;
    for interface in interfaces {
        let verdict = selection.verdict(interface, interfaces, false);
        let (watched, why) = match &verdict {
            Verdict::Not(why) => ("no", why.clone()),
            yes => ("yes", yes.to_string()),
        };
        writeln!(
            out,
            "{:width$}  {:>5}  {:17}  {:6}  {watched:7}  {why}",
            shown(&interface.name),
            interface.index,
            interface.mac.map_or_else(|| "-".to_owned(), |mac| mac.to_string()),
            if interface.up { "up" } else { "down" },
        )?;
    }
    for name in missing {
        let why = match real_name(name, interfaces) {
            Some(real) => format!("another name of {real}; name that"),
            None => "no such interface yet; waited for".to_owned(),
        };
        let name = shown(name);
        writeln!(out, "{name:width$}  {:>5}  {:17}  {:6}  {:7}  {why}", "-", "-", "absent", "no")?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::fixture::ethernet;
    use crate::interface::select::NamePattern;

    #[test]
    fn says_of_each_why() {
        let interfaces = [
            Interface { loopback: true, ..ethernet(1, "lo") },
            ethernet(2, "enp3s0"),
            Interface { up: false, mac: None, other_names: vec!["vpn".to_owned()], ..ethernet(3, "wg0") },
        ];
        let mut out = Vec::new();
        let include = ["enp3s0", "enp4s0", "vpn"].map(|name| NamePattern::new(name).unwrap()).to_vec();
        print(&mut out, &interfaces, &Selection { include, exclude: Vec::new() }).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "NAME    INDEX  MAC                STATE   WATCHED  WHY\n\
             lo          1  02:00:00:00:00:01  up      no       it is the loopback, whose frames carry no \
             sender's address\n\
             enp3s0      2  02:00:00:00:00:01  up      yes      named\n\
             wg0         3  -                  down    no       not asked for by --interface\n\
             enp4s0      -  -                  absent  no       no such interface yet; waited for\n\
             vpn         -  -                  absent  no       another name of wg0; name that\n"
        );
    }

    #[test]
    fn a_terminal_does_not_act_on_a_name() {
        let mut out = Vec::new();
        let selection = Selection { include: Vec::new(), exclude: Vec::new() };
        print(&mut out, &[ethernet(2, "e\x1b[31mX")], &selection).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("\ne\\u{1b}[31mX      2  02:00"), "{text}");
        assert!(!text.contains('\x1b'));
    }
}

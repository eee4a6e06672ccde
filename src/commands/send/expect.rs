//! What an operator may expect of the frames that were sent.

use std::time::Duration;

use crate::config::Drill;
use crate::interface::select::{Selection, Verdict};
use crate::interface::{Interface, shown};
use crate::mac::Mac;

/// A source that speaks for longer than this between its first frame and its newest is no accident: what alerts
/// on unknown sources wait for.
const EVIDENCE: Duration = Duration::from_secs(5);

/// Lines for a person, after `sent` frames.
pub(super) fn tell(drill: &Drill, interface: &Interface, all: &[Interface], sent: u32) -> String {
    let Drill { source, destination, count, interval, .. } = *drill;
    let name = shown(&interface.name);
    let frames = |n: u32| if n == 1 { "1 frame".to_owned() } else { format!("{n} frames") };
    if sent == 0 {
        return format!("stopped before the first of {}\n", frames(count));
    }
    let span = interval.saturating_mul(sent - 1);
    let mut lines = vec![if sent < count {
        format!("stopped after {sent} of {}", frames(count))
    } else {
        format!("{} sent", frames(sent))
    }];
    let owner = all.iter().find(|one| one.is_own(source)).map(|own| shown(&own.name));
    let odd = odd(source);
    let apart = format!("first and newest are {} apart", humantime::format_duration(span));
    lines.push(match (span > EVIDENCE, &odd, &owner) {
        (true, None, None) => {
            format!("{apart}: enough for an alert on unknown sources, which wants more than 5s")
        }
        (false, None, None) => {
            format!("{apart}: alerts on unknown sources want more than 5s and stay silent")
        }
        (true, Some(_), _) => format!(
            "{apart}: enough for an alert on invalid sources, which wants more than 5s, if a scrape came between \
             them; --count 8 --interval 10s leaves time for that"
        ),
        (false, Some(_), _) => format!(
            "{apart}: alerts on invalid sources want more than 5s with a scrape in between, and stay silent"
        ),
        (_, None, Some(name)) => format!(
            "{apart}, but {source} is the address of {name} on this machine: alerts stay silent where an exporter \
             watches {name}"
        ),
    });
    lines.push(format!(
        "to see them: curl -s EXPORTER:10148/metrics | grep {source}\n  \
         macwatch_source_frames_total{{interface=\"…\",source_mac=\"{source}\"}} rises by {sent}, from 0 if it is new\n  \
         macwatch_source_known{{…}} is {}",
        if owner.is_some() {
            "1 on this machine with an inventory; elsewhere 0 where none lists it"
        } else {
            "0 where an inventory does not list it"
        }
    ));
    lines.push(match Selection::default().verdict(interface, all, false) {
        Verdict::Not(why) => {
            format!("an exporter on this machine counts them only if it is told to watch {name}: {why}")
        }
        _ => {
            format!("an exporter on this machine counts them on {name}, but not with --capture.direction in")
        }
    });
    lines.push(if destination.octets() == [0xff; 6] {
        "exporters elsewhere on this segment count them".to_owned()
    } else if is_group(destination) {
        "exporters elsewhere on this segment count them, but not with --no-promiscuous".to_owned()
    } else {
        format!("elsewhere only those count them that see what a switch delivers to {destination}")
    });
    if let Some(odd) = odd {
        lines.push(format!(
            "{source} is {odd}, which no honest sender has: alerts take it for invalid, not for unknown; switches \
             and bridges may drop such frames"
        ));
    }
    lines.join("\n") + "\n"
}

/// What is wrong with a source address, if it is none that a device may have.
fn odd(source: Mac) -> Option<&'static str> {
    match source.octets() {
        [0, 0, 0, 0, 0, 0] => Some("the zero address"),
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => Some("the broadcast address"),
        _ if is_group(source) => Some("a group address"),
        _ => None,
    }
}

/// IEEE 802, clause 8.2.2: the lowest bit of the first byte.
fn is_group(mac: Mac) -> bool {
    mac.octets()[0] & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::Master;
    use crate::interface::fixture::ethernet;
    use crate::mac;

    fn told(source: &str, destination: &str, count: u32, sent: u32) -> String {
        told_on("eth0", source, destination, count, sent)
    }

    fn told_on(name: &str, source: &str, destination: &str, count: u32, sent: u32) -> String {
        let drill = Drill {
            interface: name.to_owned(),
            source: mac::parse(source).unwrap(),
            destination: mac::parse(destination).unwrap(),
            count,
            interval: Duration::from_secs(3),
            yes: false,
        };
        let interface = ethernet(2, name);
        tell(&drill, &interface, std::slice::from_ref(&interface), sent)
    }

    #[test]
    fn the_default_is_evidence() {
        assert_eq!(
            told("02:00:00:00:be:ef", "03:6d:61:63:77:61", 3, 3),
            "3 frames sent\n\
             first and newest are 6s apart: enough for an alert on unknown sources, which wants more than 5s\n\
             to see them: curl -s EXPORTER:10148/metrics | grep 02:00:00:00:be:ef\n  \
             macwatch_source_frames_total{interface=\"…\",source_mac=\"02:00:00:00:be:ef\"} rises by 3, from 0 if \
             it is new\n  \
             macwatch_source_known{…} is 0 where an inventory does not list it\n\
             an exporter on this machine counts them on eth0, but not with --capture.direction in\n\
             exporters elsewhere on this segment count them, but not with --no-promiscuous\n"
        );
    }

    /// That of the interface that is sent on.
    const OWN: &str = "02:00:00:00:00:01";

    /// A default exporter hears the bridge, which does not see what is sent on its port.
    #[test]
    fn what_nobody_watches_is_told() {
        let drill = Drill {
            interface: "p1".to_owned(),
            source: mac::parse("02:00:00:00:be:ef").unwrap(),
            destination: mac::parse("03:6d:61:63:77:61").unwrap(),
            count: 3,
            interval: Duration::from_secs(3),
            yes: false,
        };
        let (bridge, mut port) = (ethernet(2, "br0"), ethernet(3, "p1"));
        port.master = Some(Master { index: 2, kind: "bridge".to_owned() });
        let told = tell(&drill, &port, &[bridge, port.clone()], 3);
        assert!(told.contains("only if it is told to watch p1: port of bridge br0"), "{told}");
    }

    #[test]
    fn what_differs_is_told() {
        let group = "03:6d:61:63:77:61";
        let new = "02:00:00:00:be:ef";
        for (source, destination, sent, part) in [
            (new, group, 0, "stopped before the first of 3 frames\n"),
            (new, group, 2, "stopped after 2 of 3 frames\nfirst and newest are 3s apart: alerts"),
            (new, group, 2, "stay silent"),
            (new, "ff:ff:ff:ff:ff:ff", 3, "elsewhere on this segment count them\n"),
            (new, "02:00:00:00:00:09", 3, "delivers to 02:00:00:00:00:09\n"),
            ("00:00:00:00:00:00", group, 3, "is the zero address"),
            ("ff:ff:ff:ff:ff:ff", group, 3, "is the broadcast address"),
            ("01:00:5e:00:00:01", group, 3, "is a group address, which no honest sender has"),
            (
                "01:00:5e:00:00:01",
                group,
                3,
                "an alert on invalid sources, which wants more than 5s, if a scrape",
            ),
            ("00:00:00:00:00:00", group, 1, "alerts on invalid sources want more than 5s with a scrape in"),
            (OWN, group, 3, "6s apart, but 02:00:00:00:00:01 is the address of eth0 on this machine: alerts"),
            (OWN, group, 1, "0s apart, but 02:00:00:00:00:01"),
            (OWN, group, 3, "{…} is 1 on this machine"),
        ] {
            let told = told(source, destination, 3, sent);
            assert!(told.contains(part), "{part}\n{told}");
        }
        // Each is told of the alert that it may raise, and of no other.
        for (source, alerts) in [(new, 1), ("01:00:5e:00:00:01", 0), ("00:00:00:00:00:00", 0), (OWN, 0)] {
            for sent in [1, 3] {
                let told = told(source, group, 3, sent);
                assert_eq!(told.matches("on unknown sources").count(), alerts, "{told}");
            }
        }
        assert!(told(new, group, 1, 1).starts_with("1 frame sent\nfirst and newest are 0s apart"));
    }

    #[test]
    fn a_terminal_does_not_act_on_a_name() {
        let told = told_on("e\x1b[31mX", "02:00:00:00:00:01", "03:6d:61:63:77:61", 3, 3);
        assert!(told.contains("the address of e\\u{1b}[31mX on this machine"), "{told}");
        assert!(!told.contains('\x1b'));
    }
}
